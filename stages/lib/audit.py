"""Accuracy against the truth, where test labels themselves are wrong: corrected by a checked random sample.

Labels of a test set err, and on the same pictures as models: dividing by the noise rate, as if errors were
independent, is points too high (`bench/noise_corrected.py`). What needs no such assumption is a random sample
of test images whose labels somebody checked (data/review/audit.csv; `assay audit` draws it). The accuracy on
all images by their given labels is then moved by what the checked ones show (the regression estimator of
survey sampling; Angelopoulos et al. 2023 call it prediction-powered inference):

    corrected = mean(right by check) - slope * (mean of checked (right by label) - mean of all (same))

The interval is a BCa bootstrap of groups, with two made-up checked images that moved in opposite directions,
so that few differences are no certainty. Without an audit there are bounds, whatever the errors are: the
estimated noise rate may have been against the model throughout, or in its favour.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.bca import Sums, bca_intervals
from stages.lib.intervals import wilson
from stages.lib.review_file import read_rows, refuse
from stages.lib.truth import Truth

FILE = "audit.csv"
COLUMNS = ("sample_id", "label", "who", "when", "note")
FEWEST = 30
"""Checked images below which no corrected figure is given: a slope and an interval of fewer mean little."""


def read_audit(path: Path, truth: Truth) -> np.ndarray:
    """Return the checked class (N,) int64 of each sample of the truth, -1 where none was checked.

    Rows without a label are not checked yet. InputError lists every row with an unknown sample or class.
    """
    place = {name: row for row, name in enumerate(truth.sample_ids)}
    number = {name: index for index, name in enumerate(truth.classes)}
    found, faults = np.full(len(truth.sample_ids), -1), []
    for line, cells in read_rows(path, COLUMNS[:2]):
        sample_id, label = cells["sample_id"], cells["label"]
        if sample_id not in place or truth.split[place[sample_id]] != "test":
            faults.append(f"row {line}: {sample_id!r} is no test sample")
        elif label and label not in number:
            faults.append(f"row {line}: unknown label {label!r}")
        elif label:
            found[place[sample_id]] = number[label]
    refuse(path, faults)
    return found


def corrected(
    predicted: np.ndarray,
    labels: np.ndarray,
    checked: np.ndarray,
    groups: np.ndarray,
    draws: int,
    confidence: float,
    seed: int,
) -> dict[str, Any] | None:
    """Return the corrected accuracy of test samples (N,) with its interval; None with too few checked ones.

    predicted, labels, checked (N,) int64, checked -1 where it was not; groups (N,) int 0..G-1.
    """
    known = checked >= 0
    n = int(known.sum())
    if n < FEWEST:
        return None
    by_label = (predicted == labels).astype(np.float64)
    by_check = np.where(known, predicted == checked, False).astype(np.float64)
    slope = _slope(by_check[known], by_label[known])
    columns = np.stack([by_check, by_label * known, known, by_label, np.ones(len(labels))], axis=1)
    made_up = np.array([[1.0, 0, 1, 0, 1], [0, 1, 1, 1, 1]])
    part = Sums(columns, made_up, {"it": lambda totals: _estimate(totals, slope)})
    interval = bca_intervals(part, groups, draws, confidence, np.random.default_rng(seed))["it"]
    wrong = int((labels[known] != checked[known]).sum())
    low, high = max(0.0, interval[0]), min(1.0, interval[1])
    return {
        "n": len(labels),
        "n_checked": n,
        "n_wrong_labels": wrong,
        "noise_rate": wrong / n,
        "noise_rate_ci": list(wilson(wrong, n, confidence)),
        "top1_accuracy": min(max(float(_estimate(columns.sum(axis=0), slope)), 0.0), 1.0),
        "top1_accuracy_ci": [low, high],
    }


def _estimate(totals: np.ndarray, slope: float) -> np.ndarray:
    right, right_by_label, checked, by_label, n = np.moveaxis(totals, -1, 0)
    some = np.maximum(checked, 1.0)
    return np.asarray(right / some - slope * (right_by_label / some - by_label / np.maximum(n, 1.0)))


def _slope(by_check: np.ndarray, by_label: np.ndarray) -> float:
    """Return how much of a shift by labels is one by checks (0...1): the slope of least variance."""
    spread = float(by_label.var())
    if spread == 0:
        return 1.0
    covariance = float(np.mean((by_check - by_check.mean()) * (by_label - by_label.mean())))
    return min(max(covariance / spread, 0.0), 1.0)


def bounds(record: Mapping[str, Any], noise_rate_ci: Sequence[float]) -> list[float]:
    """Return what the true accuracy lies between at the noise rate's upper end, whatever the errors are."""
    low, high = record["top1_accuracy_ci"]
    return [max(0.0, low - noise_rate_ci[1]), min(1.0, high + noise_rate_ci[1])]
