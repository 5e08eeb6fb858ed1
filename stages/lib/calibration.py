"""Confidence that means something: a temperature, and the bound below which the model says "not sure".

Temperature scaling (Guo et al. 2017, On Calibration of Modern Neural Networks): one number, fitted on val,
divides the log-probabilities; the chosen class never changes. Abstention (El-Yaniv & Wiener 2010): images
whose calibrated confidence lies under a threshold are not answered; it is the lowest with which the errors
among the answered val images stay within a bound.
"""

import math
from typing import Any

import numpy as np

from stages.lib import metrics

LOWEST, HIGHEST = 0.05, 20.0
"""Temperatures tried: a network 20 times too sure, or too unsure, has another problem."""

GOLDEN = (math.sqrt(5) - 1) / 2
STEPS = 60
"""Golden-section steps: the interval shrinks to 1e-12 of its length."""

CHI_SQUARED = 3.841
"""The 0.95 quantile with one degree of freedom: how far chance alone takes the likelihood ratio."""

FLOOR = float(np.finfo(np.float32).tiny)


def warm(pred_probs: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(log p / temperature) of pred_probs (N, K), float64; above 1 it is less sure."""
    scaled = np.log(np.maximum(pred_probs.astype(np.float64), FLOOR)) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(pred_probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature with the least log loss of pred_probs (N, K) on labels (N,).

    The loss is convex in 1 / temperature, so a golden-section search over it finds the one minimum; where no
    label is missed, the loss falls towards the lowest temperature and 1 (leave it) is the answer.
    """
    if (metrics.top1(pred_probs) == labels).all():
        return 1.0

    logits = np.log(np.maximum(pred_probs.astype(np.float64), FLOOR))
    highest = logits.max(axis=1)
    missing = highest - logits[np.arange(len(labels)), labels]
    logits -= highest[:, None]

    def loss(inverse: float) -> float:
        """In logarithms: a bound on small probabilities would make it flat where it is steep."""
        return float((np.log(np.exp(inverse * logits).sum(axis=1)) + inverse * missing).mean())

    low, high = 1 / HIGHEST, 1 / LOWEST
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    for _ in range(STEPS):
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - GOLDEN * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + GOLDEN * (high - low)
            loss_right = loss(right)
    return round(2 / (low + high), 6)


def sure_temperature(pred_probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature that val asks for; 1 (leave it) unless val is sure that one is needed.

    Judged by the likelihood ratio (Wilks): twice the gain in log-likelihood over val. With one error in
    190 val images of digits the fit is 0.46, and made test's log loss worse by half. A standard error of the
    gains does not see that: they are many small ones, and the errors that would weigh against them are rare.
    """
    fitted = fit_temperature(pred_probs, labels)
    before = metrics.log_loss(pred_probs.astype(np.float64), labels)
    gain = len(labels) * (before - metrics.log_loss(warm(pred_probs, fitted), labels))
    return fitted if 2 * gain > CHI_SQUARED else 1.0


def threshold_for(pred_probs: np.ndarray, labels: np.ndarray, max_error: float) -> float:
    """Return the lowest confidence at which answering makes at most `max_error` errors a val answer.

    0 answers everything. Images of one confidence are answered or not together; where even the surest are
    wrong too often, nothing is answered (a threshold above 1).
    """
    confidence = pred_probs.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum((metrics.top1(pred_probs) != labels)[order])
    error = wrong / np.arange(1, len(order) + 1)
    ranked = confidence[order]
    ends = np.append(ranked[:-1] > ranked[1:], True)
    good = np.flatnonzero((error <= max_error) & ends)
    if not len(good):
        return 1.01
    last = int(good[-1])
    return 0.0 if last == len(order) - 1 else float(ranked[last])


def answered(pred_probs: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, Any]:
    """Return coverage, and number and accuracy of the answered samples (None where there is none)."""
    kept = pred_probs.max(axis=1) >= threshold
    right = metrics.top1(pred_probs) == labels
    return {
        "coverage": float(kept.mean()),
        "n_answered": int(kept.sum()),
        "top1_accuracy": float(right[kept].mean()) if kept.any() else None,
    }
