"""Data Docs: what was expected of the data and what was found, as pages a person reads offline.

Great Expectations' own site was measured and not used: its pages load scripts and styles from seven hosts on
the network, carry 4 MB of fonts and pictures, and hold run times and random ids in text and paths.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.lib.artifacts import write_text
from stages.lib.expectations import Outcome

SHOWN_ROWS = 200
"""Unexpected rows listed on a suite's page; all of them can be had from the findings' own files."""

TEMPLATE = "data_docs.html.jinja"


def write_data_docs(
    folder: Path, outcomes: Mapping[str, Sequence[Outcome]], titles: Mapping[str, str]
) -> None:
    """Write index.html and one page per suite (titles: what a suite's rows are, by its name)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    place = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=place, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.get_template(TEMPLATE)
    suites = [
        {"name": name, "title": titles[name], "rows": [_row(outcome) for outcome in found]}
        for name, found in outcomes.items()
    ]
    write_text(folder / "index.html", template.render(suites=suites, page=None))
    for suite in suites:
        write_text(folder / f"{suite['name']}.html", template.render(suites=suites, page=suite))


def _row(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.check.name,
        "severity": outcome.check.severity,
        "verdict": "passed" if outcome.passed else outcome.check.severity,
        "statement": outcome.statement,
        "observed": outcome.observed,
        "remedy": outcome.check.remedy,
        "unexpected": outcome.unexpected[:SHOWN_ROWS],
        "more": max(len(outcome.unexpected) - SHOWN_ROWS, 0),
    }
