"""Metrics of classification from probabilities, in numpy: sums and counts, divided once at the end.

Shapes: pred_probs (N, K) float, rows sum to 1; labels and predicted (N,) int64, positions of classes.
Tests hold them to scikit-learn's within 1e-9. Accuracies are fractions.
"""

from dataclasses import dataclass

import numpy as np

LOG_LOSS_FLOOR = float(np.finfo(np.float32).eps)
"""Probabilities are stored as float32, so none below its epsilon (1.2e-7) can be told from 0 beside a 1.

scikit-learn clips float32 probabilities at the same place. A model that says 0 and is wrong pays 15.9 nats
for that sample instead of infinity: `dummy_most_frequent` has a log loss that can be compared.
"""


def top1(pred_probs: np.ndarray) -> np.ndarray:
    """Return the most probable class of each row (N,) int64; the first of equals."""
    return np.asarray(pred_probs.argmax(axis=1))


def confusion(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Count (K, K) int64: row = actual class, column = predicted class."""
    cells = np.bincount(labels * n_classes + predicted, minlength=n_classes * n_classes)
    return cells.reshape(n_classes, n_classes)


def top1_accuracy(counts: np.ndarray) -> float:
    """Return the share of samples on the diagonal of a confusion matrix (K, K)."""
    return float(np.trace(counts) / counts.sum())


def balanced_accuracy(counts: np.ndarray) -> float:
    """Return the mean recall over the classes that occur: a rare class counts as much as a common one."""
    actual = counts.sum(axis=1)
    occurs = actual > 0
    return float(np.mean(np.diag(counts)[occurs] / actual[occurs]))


def f1_scores(counts: np.ndarray) -> np.ndarray:
    """Return F1 per class (K,): 2 TP / (actual + predicted), 0 where it neither occurs nor is predicted."""
    total = counts.sum(axis=0) + counts.sum(axis=1)
    return np.asarray(2 * np.diag(counts) / np.maximum(total, 1))


def macro_f1(counts: np.ndarray) -> float:
    """Return the mean F1 over the classes that occur or are predicted."""
    concerned = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    return float(f1_scores(counts)[concerned].mean())


def log_losses(pred_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each sample's -ln(probability of the true class) (N,), in nats, clipped at LOG_LOSS_FLOOR."""
    given = pred_probs[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(-np.log(np.clip(given, LOG_LOSS_FLOOR, 1.0)))


def log_loss(pred_probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of `log_losses`."""
    return float(log_losses(pred_probs, labels).mean())


def topk_accuracy(pred_probs: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Return the share of samples whose label is among the k most probable classes; the first of equals."""
    given = pred_probs[np.arange(len(labels)), labels][:, None]
    # A class stands before the label when it is more probable, or as probable and earlier.
    earlier = np.arange(pred_probs.shape[1]) < labels[:, None]
    before = (pred_probs > given) | ((pred_probs == given) & earlier)
    return float((before.sum(axis=1) < k).mean())


def brier_scores(pred_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each sample's squared distance (N,) from its one-hot label: 0 sure and right, 2 sure, wrong."""
    given = pred_probs[np.arange(len(labels)), labels]
    return np.asarray((pred_probs**2).sum(axis=1) + 1 - 2 * given)


def brier(pred_probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean Brier score over samples (Brier 1950: summed over the classes)."""
    return float(brier_scores(pred_probs, labels).mean())


@dataclass(frozen=True)
class CalibrationBin:
    """Samples with a confidence in (lower, upper]; confidence and accuracy are means over its n samples."""

    lower: float
    upper: float
    n: int
    confidence: float
    accuracy: float


def calibration_table(pred_probs: np.ndarray, labels: np.ndarray, n_bins: int) -> list[CalibrationBin]:
    """Bin samples by the probability of their predicted class; empty bins are left out.

    Bins are of equal width (Guo et al. 2017, On Calibration of Modern Neural Networks, section 2).
    """
    confidence = pred_probs.max(axis=1).astype(np.float64)
    correct = (top1(pred_probs) == labels).astype(np.float64)
    place = even_bins(confidence, n_bins)
    n = np.bincount(place, minlength=n_bins)
    sums = [np.bincount(place, weights=values, minlength=n_bins) for values in (confidence, correct)]
    return [
        CalibrationBin(i / n_bins, (i + 1) / n_bins, int(n[i]), sums[0][i] / n[i], sums[1][i] / n[i])
        for i in np.flatnonzero(n).tolist()
    ]


def even_bins(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the bin (N,) int64 of each confidence (N,) among `n_bins` of equal width."""
    return np.asarray(np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1))


def full_bins(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the bin (N,) int64 of each confidence among `n_bins` of as equal numbers as can be.

    Samples of one confidence share a bin, so that the order of samples does not matter (Nixon et al. 2019,
    Measuring Calibration in Deep Learning, call bins of equal number adaptive).
    """
    ranked = np.sort(confidence)
    return np.asarray(np.searchsorted(ranked, confidence) * n_bins // len(confidence))


def binned_gap(confidence: np.ndarray, correct: np.ndarray, place: np.ndarray) -> float:
    """Return the mean gap of confidence and accuracy over the bins `place` (N,), weighted by their n."""
    return float(np.abs(np.bincount(place, weights=confidence - correct)).sum()) / len(place)


def ece(table: list[CalibrationBin]) -> float:
    """Return the expected calibration error: the mean gap of confidence and accuracy, weighted by n."""
    total = sum(row.n for row in table)
    return float(sum(row.n * abs(row.confidence - row.accuracy) for row in table) / total)


def ece_adaptive(pred_probs: np.ndarray, labels: np.ndarray, n_bins: int) -> float:
    """Return the calibration error over bins of equal number: it also sees where most confidences crowd."""
    confidence = pred_probs.max(axis=1).astype(np.float64)
    correct = (top1(pred_probs) == labels).astype(np.float64)
    return binned_gap(confidence, correct, full_bins(confidence, n_bins))


@dataclass(frozen=True)
class ClassScore:
    """How one class fares: n actual samples, of which `correct` were named so; None where there is no sample.

    `confused_with` is the position of the class it was most often taken for, `confused_n` how often.
    """

    n: int
    correct: int
    recall: float | None
    precision: float | None
    f1: float
    confused_with: int | None
    confused_n: int


def per_class(counts: np.ndarray) -> list[ClassScore]:
    """Return one record a class from a confusion matrix (K, K)."""
    return [_class_score(counts, k) for k in range(len(counts))]


def _class_score(counts: np.ndarray, k: int) -> ClassScore:
    correct, actual, predicted = int(counts[k, k]), int(counts[k].sum()), int(counts[:, k].sum())
    wrong = counts[k].copy()
    wrong[k] = 0
    worst = int(wrong.argmax())
    return ClassScore(
        n=actual,
        correct=correct,
        recall=correct / actual if actual else None,
        precision=correct / predicted if predicted else None,
        f1=float(f1_scores(counts)[k]),
        confused_with=worst if wrong[worst] else None,
        confused_n=int(wrong[worst]),
    )
