"""Where the main prediction errs: confusion, classes, calibration, and its worst errors as pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.lib import charts, metrics, report_words
from stages.lib.confusion_blocks import Block, confusion_blocks
from stages.lib.intervals import Interval, accuracy_interval
from stages.lib.pictures import Picture
from stages.lib.prior_findings import Findings
from stages.lib.report_cards import (
    MOST_CLASSES_IN_MATRIX,
    MOST_PICTURES,
    MOST_ROWS,
    Card,
    source_name,
)
from stages.lib.scored_rows import Evaluation, MainRows, worst_errors

MOST_BLOCKS = 15


def error_part(
    evaluation: Evaluation,
    rows: MainRows,
    counts: np.ndarray,
    findings: Findings,
    shown: Mapping[str, Picture],
) -> dict[str, Any]:
    """Return confusion, calibration, classes and the worst errors of the main prediction on test."""
    classes = evaluation.truth.classes
    bins = metrics.calibration_table(rows.pred_probs, rows.labels, evaluation.ece_bins)
    errors = worst_errors(rows)
    summary = f"Accuracy over confidence in {len(bins)} bins; the table beside it has the numbers."
    return {
        "n_test": len(rows.labels),
        "n_errors": len(errors),
        "n_classes": len(classes),
        "matrix": _matrix(classes, counts) if len(classes) <= MOST_CLASSES_IN_MATRIX else None,
        "classes": classes,
        "blocks": _named_blocks(classes, counts) if len(classes) > MOST_CLASSES_IN_MATRIX else [],
        "confused": confused_pairs(classes, counts)[:MOST_ROWS],
        "calibration": list(zip(bins, bin_intervals(evaluation, rows), strict=True)),
        "calibration_chart": charts.reliability_chart(bins, summary),
        "class_rows": class_rows(evaluation, rows, counts, findings),
        "errors": [_error_card(rows, row, classes, findings, shown) for row in errors[:MOST_PICTURES]],
    }


def _matrix(classes: Sequence[str], counts: np.ndarray) -> list[tuple[str, list[dict[str, Any]]]]:
    actual = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        (name, [{"n": n, "share": share} for n, share in zip(row.tolist(), shares.tolist(), strict=True)])
        for name, row, shares in zip(classes, counts, counts / actual, strict=True)
    ]


def _named_blocks(classes: Sequence[str], counts: np.ndarray) -> list[tuple[list[str], Block]]:
    return [([classes[k] for k in one.classes], one) for one in confusion_blocks(counts)[:MOST_BLOCKS]]


def confused_pairs(classes: Sequence[str], counts: np.ndarray) -> list[tuple[str, str, int, int]]:
    """Return (actual, predicted, n, n of the actual class), the most frequent confusion first."""
    wrong = [(int(a), int(p)) for a, p in zip(*np.nonzero(counts), strict=True) if a != p]
    wrong.sort(key=lambda pair: (-counts[pair], pair))
    return [(classes[a], classes[p], int(counts[a, p]), int(counts[a].sum())) for a, p in wrong]


def class_rows(
    evaluation: Evaluation, rows: MainRows, counts: np.ndarray, findings: Findings
) -> list[dict[str, Any]]:
    """Return one row a class, the lowest recall first, at most MOST_ROWS."""
    classes, level = evaluation.truth.classes, evaluation.confidence
    found: list[dict[str, Any]] = []
    for k, score in enumerate(metrics.per_class(counts)):
        actual, named = rows.labels == k, rows.predicted == k
        found.append(
            {
                "name": classes[k],
                "score": score,
                "ci": _share(named, actual, rows.groups, level),
                "precision_ci": _share(actual, named, rows.groups, level),
                "confused_with": None if score.confused_with is None else classes[score.confused_with],
                "counts": findings.class_counts[classes[k]],
            }
        )
    return sorted(found, key=lambda row: (row["score"].n == 0, row["score"].recall or 0.0))[:MOST_ROWS]


def bin_intervals(evaluation: Evaluation, rows: MainRows) -> list[Interval | None]:
    """Return the interval of the accuracy in each bin of the calibration table."""
    correct = rows.predicted == rows.labels
    place = metrics.even_bins(rows.pred_probs.max(axis=1), evaluation.ece_bins)
    return [_share(correct, place == at, rows.groups, evaluation.confidence) for at in np.unique(place)]


def _share(hit: np.ndarray, among: np.ndarray, groups: np.ndarray, confidence: float) -> Interval | None:
    """Return the interval of the share of hits (M,) among some of the rows; None where there is none."""
    if not among.any():
        return None
    renumbered = np.unique(groups[among], return_inverse=True)[1]
    return accuracy_interval(hit[among], renumbered, confidence)


def _error_card(
    rows: MainRows, row: int, classes: Sequence[str], findings: Findings, shown: Mapping[str, Picture]
) -> Card:
    sample_id, said = rows.sample_ids[row], int(rows.predicted[row])
    doubted = any(suspect.sample_id == sample_id for suspect in findings.suspects)
    lines = (
        ("label", classes[int(rows.labels[row])]),
        ("model", f"{classes[said]} ({report_words.percent(float(rows.pred_probs[row, said]), 0)})"),
    )
    mark = "this label is itself a suspect" if doubted else ""
    return Card(shown.get(sample_id), source_name(findings, sample_id), lines, mark)
