"""Is one recipe better than another, not only one network than another? Then seeds count beside images.

Two networks of one recipe differ in truth: with enough test images any two are "significantly" different
(`bench/coverage.py`: identical recipes, judged by one network each, are told apart too often). So the
accuracies of several networks each are averaged, and the interval adds what other seeds would have given to
what other images would have: Welch's t on the variance between seeds, beside the variance over groups of the
mean difference. The two overlap a little, which errs on the safe side.
"""

import math
from dataclasses import dataclass

import numpy as np

from stages.lib.intervals import Interval, group_sums

STEPS = 4001


@dataclass(frozen=True)
class Gain:
    """Mean accuracy of recipe a less that of b, its interval and p-value; n images, and seeds of each."""

    difference: float
    interval: Interval
    p_value: float
    n: int
    n_seeds: tuple[int, int]


def recipe_gain(a: np.ndarray, b: np.ndarray, groups: np.ndarray, confidence: float) -> Gain | None:
    """Return the gain from correctness a (N, A) and b (N, B) of networks; None unless each has two."""
    seeds = a.shape[1], b.shape[1]
    if min(seeds) < 2 or len(a) < 2:
        return None
    difference = float(a.mean() - b.mean())
    own = _images_variance(a.mean(axis=1) - b.mean(axis=1), groups)
    between = [float(part.mean(axis=0).var(ddof=1)) / part.shape[1] for part in (a, b)]
    variance = own + sum(between)
    degrees = _degrees([own, *between], [max(int(groups.max()), 1), seeds[0] - 1, seeds[1] - 1])
    deviation = math.sqrt(variance)
    if deviation == 0:
        return Gain(difference, (difference, difference), 1.0, len(a), seeds)
    reach = _t_quantile((1 + confidence) / 2, degrees) * deviation
    p_value = 2 * (1 - t_cdf(abs(difference) / deviation, degrees))
    return Gain(difference, (difference - reach, difference + reach), p_value, len(a), seeds)


def _images_variance(differences: np.ndarray, groups: np.ndarray) -> float:
    """Return the variance of the mean of differences (N,), whole groups drawn.

    Two made-up images that differ in opposite directions join: few differences are no certainty.
    """
    away = group_sums((differences - differences.mean())[:, None], groups)[:, 0]
    n, n_groups = len(differences), len(away)
    return (float((away**2).sum()) * n_groups / max(n_groups - 1, 1) + 2.0) / n**2


def _degrees(variances: list[float], degrees: list[int]) -> float:
    """Return Welch and Satterthwaite's degrees of freedom of a sum of variances."""
    whole = sum(variances)
    parts = sum(part**2 / freedom for part, freedom in zip(variances, degrees, strict=True))
    return whole**2 / parts if parts > 0 else float(sum(degrees))


def t_cdf(value: float, degrees: float) -> float:
    """Return Student's distribution function at value >= 0 (Simpson's rule over the density)."""
    # Substituting x = tan(angle) sqrt(degrees) makes the range finite and the integrand a power of a cosine.
    angles = np.linspace(0.0, math.atan(value / math.sqrt(degrees)), STEPS)
    heights = np.cos(angles) ** (degrees - 1)
    weights = np.ones(STEPS)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    area = float((heights * weights).sum()) * angles[-1] / (STEPS - 1) / 3
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(math.pi)
    return min(1.0, 0.5 + float(area) * math.exp(log_scale))


def _t_quantile(share: float, degrees: float) -> float:
    low, high = 0.0, 1.0
    while t_cdf(high, degrees) < share:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, degrees) < share else (low, middle)
    return (low + high) / 2
