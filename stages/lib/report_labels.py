"""What the report shows of labels: how many are wrong, which pass for which, who errs, and the suspects."""

from collections.abc import Mapping
from typing import Any

from stages.lib.pictures import Picture
from stages.lib.prior_findings import Findings, Suspect
from stages.lib.report_cards import MOST_CLASSES_IN_MATRIX, MOST_PICTURES, Card, source_name

MOST_CELLS = 12
"""Confusions of labels that are listed; from more on, a matrix shows them all where it can be read."""

MOST_ANNOTATORS = 20


def label_part(findings: Findings, shown: Mapping[str, Picture]) -> dict[str, Any]:
    """Return the noise rate, the confusions of labels, the annotators and the suspects' contact sheet."""
    cells = findings.noise_cells
    names = sorted({row[key] for row in cells for key in ("given_label", "true_label")})
    drawn = len(cells) > MOST_CELLS and len(names) <= MOST_CLASSES_IN_MATRIX
    return {
        "noise": findings.noise,
        "noise_names": names,
        "noise_matrix": _matrix(findings, names) if drawn else None,
        "noise_cells": cells[:MOST_CELLS],
        "annotators": findings.annotators[:MOST_ANNOTATORS],
        "suspect_cards": [_suspect(item, findings, shown) for item in findings.suspects[:MOST_PICTURES]],
    }


def _matrix(findings: Findings, names: list[str]) -> list[tuple[str, list[dict[str, float]]]]:
    """Return a row a given label: estimated number of each true one, and its share of the most."""
    numbers = {(row["given_label"], row["true_label"]): float(row["n"]) for row in findings.noise_cells}
    most = max(numbers.values())
    return [
        (
            given,
            [
                {"n": numbers.get((given, true), 0.0), "share": numbers.get((given, true), 0.0) / most}
                for true in names
            ],
        )
        for given in names
    ]


def _suspect(suspect: Suspect, findings: Findings, shown: Mapping[str, Picture]) -> Card:
    lines = [("quality", f"{suspect.label_quality:.3f}")]
    lines += [] if suspect.status == "keep" else [("now", suspect.status)]
    return Card(
        shown.get(suspect.sample_id),
        source_name(findings, suspect.sample_id),
        tuple(lines),
        change=(suspect.given_label, suspect.suggested_label),
    )
