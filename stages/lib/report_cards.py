"""Cards of the report's contact sheets: a picture with a few lines below it."""

from dataclasses import dataclass

from stages.lib.pictures import Picture
from stages.lib.prior_findings import Findings

MOST_PICTURES = 24
"""Pictures on a contact sheet: a person looks at two dozen, not at hundreds."""

MOST_PAIRS = 12

MOST_ROWS = 50
"""Rows of a long table that are shown; the total stands beside it."""

MOST_CLASSES_IN_MATRIX = 25
"""A larger matrix of classes is unreadable; a list of its largest cells replaces it."""


@dataclass(frozen=True)
class Card:
    """A picture of a contact sheet with the lines below it; change is a label that should be another."""

    picture: Picture | None
    name: str
    lines: tuple[tuple[str, str], ...]
    mark: str = ""
    change: tuple[str, str] | None = None


def source_name(findings: Findings, sample_id: str) -> str:
    """Say which file it is, and the id by which `data/review/decisions.csv` names it."""
    source = findings.sources.get(sample_id)
    return f"{source} · {sample_id}" if source and source != sample_id else sample_id
