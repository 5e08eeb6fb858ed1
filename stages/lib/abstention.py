"""When to answer: calibrated confidence, risk against coverage, and an operating point that val chose.

A model that may say "not sure" trades coverage (the share of images that it answers) for risk (the share of
wrong answers among them). Temperature and threshold come from val (`lib/calibration.py`); test only says what
they are worth. The area under the risk-coverage curve (Geifman et al. 2019, AURC) sums up all thresholds.
"""

from typing import Any

import numpy as np

from stages.lib import metrics
from stages.lib.calibration import sure_temperature, threshold_for, warm
from stages.lib.intervals import accuracy_interval

POINTS = 20
"""Rows of the risk-coverage table: every twentieth of the images, the surest first."""

COLUMNS = ("coverage", "risk", "risk_low", "risk_high", "n_answered", "threshold")

Part = tuple[np.ndarray, np.ndarray, np.ndarray]
"""pred_probs (M, K), labels (M,), groups (M,) 0..G-1."""


def operating_point(
    val: Part, test: Part, max_error: float, n_bins: int, confidence: float
) -> dict[str, Any] | None:
    """Return temperature, threshold, and what they give on test; None where val holds no samples.

    `risk` is the share of wrong answers among the answered test images; None where none is answered.
    """
    if not len(val[1]):
        return None
    temperature = sure_temperature(val[0], val[1])
    sure_val, sure_test = warm(val[0], temperature), warm(test[0], temperature)
    threshold = threshold_for(sure_val, val[1], max_error)
    kept = sure_test.max(axis=1) >= threshold
    right = metrics.top1(sure_test) == test[1]
    return {
        "temperature": temperature,
        "log_loss": metrics.log_loss(sure_test, test[1]),
        "ece": metrics.ece(metrics.calibration_table(sure_test, test[1], n_bins)),
        "max_error": max_error,
        "threshold": threshold,
        "n_val": len(val[1]),
        "n": len(right),
        "n_answered": int(kept.sum()),
        "coverage": float(kept.mean()),
        "coverage_ci": list(accuracy_interval(kept, test[2], confidence)),
        "aurc": area(sure_test.max(axis=1), right),
    } | _risk(right[kept], test[2][kept], confidence)


def _risk(right: np.ndarray, groups: np.ndarray, confidence: float) -> dict[str, Any]:
    if not len(right):
        return {"risk": None, "risk_ci": None}
    low, high = risk_interval(right, groups, confidence)
    return {"risk": float(1 - right.mean()), "risk_ci": [low, high]}


def risk_interval(right: np.ndarray, groups: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the interval of the share of wrong answers (N,), in groups (N,) of any numbers."""
    among = np.unique(groups, return_inverse=True)[1]
    low, high = accuracy_interval(right, among, confidence)
    return 1 - high, 1 - low


def area(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the mean risk over all coverages; samples of one confidence are answered together."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~right[order])
    # Within a tie every order is as good: its risk is that at the tie's end.
    ends = np.searchsorted(-confidence[order], -confidence[order], side="right") - 1
    return float((wrong[ends] / (ends + 1)).mean())


def risk_curve(pred_probs: np.ndarray, test: Part, confidence: float) -> list[tuple[float | int, ...]]:
    """Return rows of COLUMNS: answering the surest images only, down to the least sure.

    Images of one confidence are answered together, so that a row may answer a few more than a twentieth.
    """
    sure = pred_probs.max(axis=1)
    right = metrics.top1(pred_probs) == test[1]
    ranked = np.sort(sure)[::-1]
    bounds = {float(ranked[-(-len(sure) * step // POINTS) - 1]) for step in range(1, POINTS + 1)}
    rows: list[tuple[float | int, ...]] = []
    for bound in sorted(bounds, reverse=True):
        kept = sure >= bound
        low, high = risk_interval(right[kept], test[2][kept], confidence)
        rows.append((float(kept.mean()), float(1 - right[kept].mean()), low, high, int(kept.sum()), bound))
    return rows
