"""The report's words on the references: what val chose for each, and where a bound on cost was met."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.lib.artifacts import read_json

Record = Mapping[str, Any]

SPACES = {"pixels": "the pixels", "embedding": "the embedding"}


def references_part(baseline: Path) -> dict[str, Any]:
    """Return what report_references.html.jinja shows."""
    found = read_json(baseline / "metrics.json") if (baseline / "metrics.json").is_file() else {}
    return {
        "references_template": "report_references.html.jinja",
        "reference_sentences": [
            text for name in ("knn", "svc") if name in found for text in words(name, found)
        ],
    }


def words(name: str, found: Record) -> list[str]:
    """Return sentences on one reference: what val chose, how much it learned from, or why there is none."""
    told = found[name]
    if not told.get("measured", True):
        return [f"{name} was not measured: {told['reason']}."]
    space = SPACES[told["space"]]
    chosen = f"{told['k']} neighbours, {told['metric']}" if name == "knn" else f"C = {told['c']:g}"
    sentence = f"For {name}, val chose {space} and {chosen}."
    if not told["capped"]:
        return [sentence]
    share = f"{told['n_train']:,} of {found['n_train']:,} train images"
    return [
        sentence,
        f"It learned from {share}, as baseline.{name}_max_train bounds its cost: it may be stronger.",
    ]
