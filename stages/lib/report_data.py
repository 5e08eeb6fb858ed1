"""The report's account of the data: expectations, labels, pictures, refused files, curation, balance."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from stages.lib import report_labels, report_pictures, report_words
from stages.lib.pictures import Picture
from stages.lib.prior_findings import Findings, Row
from stages.lib.report_cards import MOST_PICTURES, MOST_ROWS, Card, source_name


def data_part(findings: Findings, shown: Mapping[str, Picture]) -> dict[str, Any]:
    """Return what was found in the data."""
    reasons = Counter(row["reason"] for row in findings.quarantined)
    most = max(max(counts.values()) for counts in findings.class_counts.values())
    expectations = findings.verdict["expectations"]
    return {
        "findings": findings,
        "expectations_failed": [row for row in expectations if not row["passed"]],
        "expectations_passed": [row for row in expectations if row["passed"]],
        "quarantine_reasons": sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])),
        "quarantined_rows": findings.quarantined[:MOST_ROWS],
        "queue_cards": [_waiting(row, findings, shown) for row in findings.queue[:MOST_PICTURES]],
        "balance": [
            {"name": name, "counts": counts, "share": 100 * counts["train"] / most if most else 0.0}
            for name, counts in list(findings.class_counts.items())[:MOST_ROWS]
        ],
        **report_labels.label_part(findings, shown),
        **report_pictures.picture_part(findings, shown),
    }


def pictured_findings(findings: Findings) -> set[str]:
    """Return the samples whose pictures this part shows."""
    suspects = {suspect.sample_id for suspect in findings.suspects[:MOST_PICTURES]}
    waiting = {row["sample_id"] for row in findings.queue[:MOST_PICTURES]}
    return suspects | waiting | report_pictures.pictured(findings)


def _waiting(row: Row, findings: Findings, shown: Mapping[str, Picture]) -> Card:
    guess = f"{row['suggested_label']} ({report_words.percent(float(row['confidence']), 0)})"
    lines = (("given", row["given_label"] or "none"), ("model", guess), ("why", row["reason"]))
    return Card(shown.get(row["sample_id"]), source_name(findings, row["sample_id"]), lines)
