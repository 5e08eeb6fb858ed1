"""The report's part on leaks: accuracies with and without test images that resemble train, and those."""

from collections.abc import Mapping
from typing import Any

from stages.lib.pictures import Picture
from stages.lib.prior_findings import Findings, Row
from stages.lib.report_cards import MOST_PAIRS, Card, source_name
from stages.lib.report_words import in_order

TEMPLATE = "report_leaks.html.jinja"

REASONS = {"exact": "the same picture", "near": "a near copy", "judged": "a copy, as people judged"}
REASONS |= {"chain": "a copy of a copy", "group": "of one group"}


def leak_part(results: Mapping[str, Any], findings: Findings, shown: Mapping[str, Picture]) -> dict[str, Any]:
    """Return what report_leaks.html.jinja shows: a sentence, a row a prediction, and the nearest pairs."""
    found = results["duplicate_tax"]
    records = found["predictions"]
    return {
        "leaks_template": TEMPLATE,
        "leak_meaning": results["story"]["duplicate_tax"],
        "leak_rows": [
            (name, records[name]) for name in in_order(list(records)) if records[name]["tax"] is not None
        ],
        "n_leaked": len(findings.leaks),
        "leak_cards": [_pair(row, findings, shown) for row in findings.leaks[:MOST_PAIRS]],
    }


def pictured_leaks(findings: Findings) -> set[str]:
    """Return the samples whose pictures this part shows."""
    rows = findings.leaks[:MOST_PAIRS]
    return {row[key] for row in rows for key in ("sample_id", "other_sample_id")}


def _pair(row: Row, findings: Findings, shown: Mapping[str, Picture]) -> list[Card]:
    near = f" ({float(row['distance']):.2f} apart)" if row["distance"] else ""
    tested = (("label", row["label"]), ("in", "test"))
    learned = (("label", row["other_label"]), ("in", f"train: {REASONS[row['reason']]}{near}"))
    return [
        Card(shown.get(sample_id), source_name(findings, sample_id), lines)
        for sample_id, lines in ((row["sample_id"], tested), (row["other_sample_id"], learned))
    ]
