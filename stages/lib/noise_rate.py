"""How many labels are wrong, and which class passes for which: estimates with the sampling error they have.

Two views of what a wrong label is. Confident learning (Northcutt, Jiang & Chuang 2021, JAIR, section 3.1,
counted as cleanlab counts it) takes a model's confident contradiction for an error of the label, and so
counts the model's own confident mistakes too. The posterior of annotators and model (lib/annotators.py)
supposes that they err independently, and so misses what all find hard. The interval spans both views and
their sampling error. On CIFAR-10 with human labels (0.172 wrong) a network right in 0.80 gives 0.09 to 0.19
from one label, 0.15 to 0.18 from three. A weak model takes its own failings for noise in both views: one
right in 0.54 (10,000 images, linear) gives 0.19 to 0.48. Read the rate beside `top1_agreement`.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from stages.lib.annotators import Doubles, Labels
from stages.lib.intervals import Interval, percentile_interval
from stages.lib.pooling import Floats

THRESHOLD_SLACK = 1e-6
"""cleanlab's allowance for a probability that equals its class's threshold."""

DRAWS = 1000
CONFIDENCE = 0.95

CONFUSION_COLUMNS = ("given_label", "true_label", "n", "share_of_given")

LEAST_LABELS = 0.5
"""Fewer estimated labels than this round to none."""


@dataclass(frozen=True)
class NoiseEstimate:
    """rate of wrong labels and its interval; matrix (K, K): estimated labels [given, true], sums to n."""

    rate: float
    interval: Interval
    matrix: Doubles


def confident_classes(labels: Labels, pred_probs: Floats) -> Labels:
    """Return the class that each sample is confidently of, -1 for none: (n,).

    Confident: at least as probable as that class is on average for samples that carry its label.
    """
    n_classes = pred_probs.shape[1]
    counts = np.bincount(labels, minlength=n_classes)
    own = np.bincount(labels, weights=pred_probs[np.arange(len(labels)), labels], minlength=n_classes)
    thresholds = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
    above = pred_probs >= thresholds - THRESHOLD_SLACK
    several = above.sum(1) > 1
    guess = np.where(several, pred_probs.argmax(1), above.argmax(1))
    confident: Labels = np.where(above.any(1), guess, -1)
    return confident


def by_confidence(labels: Labels, pred_probs: Floats, rng: np.random.Generator) -> NoiseEstimate:
    """Estimate from labels (n,) and out-of-sample pred_probs (n, K); the interval is the sampling error."""
    n_classes = pred_probs.shape[1]
    cells, counts = np.unique(
        np.stack([labels, confident_classes(labels, pred_probs)], axis=1), axis=0, return_counts=True
    )
    drawn = rng.multinomial(len(labels), counts / counts.sum(), DRAWS)
    rates = np.array([_rate(cells, row, n_classes) for row in drawn])
    matrix = np.zeros((n_classes, n_classes))
    sure = cells[:, 1] >= 0
    matrix[cells[sure, 0], cells[sure, 1]] = counts[sure]
    np.fill_diagonal(matrix, np.maximum(matrix.diagonal(), 1))
    matrix *= (np.bincount(labels, minlength=n_classes) / matrix.sum(1))[:, None]
    return NoiseEstimate(_rate(cells, counts, n_classes), percentile_interval(rates, CONFIDENCE), matrix)


def _rate(cells: Labels, counts: Labels, n_classes: int) -> float:
    """Return the share of wrong labels: each class's share among its confident samples, by class size."""
    given, true = cells.T
    totals = np.bincount(given, weights=counts, minlength=n_classes)
    off = np.bincount(given, weights=counts * ((true >= 0) & (true != given)), minlength=n_classes)
    on = np.bincount(given, weights=counts * (true == given), minlength=n_classes)
    share = off / np.maximum(off + np.maximum(on, 1), 1)  # cleanlab: each class has one sample that is right
    return float((totals * share).sum() / totals.sum())


def by_posterior(labels: Labels, posterior: Doubles) -> NoiseEstimate:
    """Estimate from labels (n,) and the posterior (n, K); the interval is the sampling error."""
    doubt = 1 - posterior[np.arange(len(labels)), labels]
    rate, error = float(doubt.mean()), float(doubt.std() / len(doubt) ** 0.5)
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    matrix = np.zeros((posterior.shape[1],) * 2)
    for given in np.unique(labels):
        matrix[given] = posterior[labels == given].sum(0)
    return NoiseEstimate(rate, (max(0.0, rate - reach), min(1.0, rate + reach)), matrix)


def spanning(first: NoiseEstimate, second: NoiseEstimate) -> NoiseEstimate:
    """Return the first estimate with an interval that holds both intervals."""
    low, high = zip(first.interval, second.interval, strict=True)
    return NoiseEstimate(first.rate, (min(low), max(high)), first.matrix)


def confusions(matrix: Doubles, classes: list[str]) -> list[tuple[str, str, float, float]]:
    """List (given, true, estimated labels, share of the given) beside the diagonal, most first.

    Cells of less than half a label are left out.
    """
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    given, true = np.nonzero((matrix >= LEAST_LABELS) & ~np.eye(len(matrix), dtype=bool))
    order = np.lexsort((true, given, -matrix[given, true]))
    return [
        (classes[g], classes[t], round(float(matrix[g, t]), 3), round(float(shares[g, t]), 6))
        for g, t in zip(given[order], true[order], strict=True)
    ]
