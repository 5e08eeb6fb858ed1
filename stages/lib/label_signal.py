"""Do predictions know anything about the labels? A permutation test, sound on thirty images as on a thousand.

An image's label should get more probability from its own prediction than from the other images' predictions.
The mean of that gain is compared with what it is when the labels are dealt to the images at random. Neither
the class shares (which val may not have in common with train) nor the size of the probabilities (a network
that overfits is too sure of itself) enter, as they do enter a comparison of losses: on 120 photographs of
clothes a network whose val loss was above that of a blind one's (2.52 against 2.50) had a gain of 4.6
standard errors.

Source: Hoeffding (1951), A combinatorial central limit theorem, for the standard error; Westfall and Young
(1993), Resampling-based multiple testing, for the largest of several looks.
"""

from dataclasses import dataclass

import numpy as np

SHUFFLES = 999
"""Random deals of the labels: with them a chance of 0.002 is the second largest of 1,000."""

LEAST_BOUND = 2.0
"""Standard errors that no signal stays below: predictions that are all alike tie with every deal."""

LEAST_SPREAD = 1e-6
"""Probabilities that differ by less are equal: rounding must not become a signal."""


@dataclass(frozen=True)
class Signal:
    """The largest gain of all looks in standard errors, and what chance alone stays below.

    `chance_bound` is exceeded by labels dealt at random with a probability of at most `chance`.
    """

    z: float
    chance_bound: float
    chance: float


def label_signal(pred_probs: np.ndarray, labels: np.ndarray, chance: float, seed: int) -> Signal:
    """Measure what predictions of several looks (E, N, K) know of labels (N,) int64; N is 2 or more.

    The largest look counts, and so it does in each random deal: that keeps the test exact however many
    looks there are.
    """
    gains = pred_probs.astype(np.float64) - pred_probs.mean(1, keepdims=True, dtype=np.float64)
    error = np.maximum(standard_errors(gains, labels), LEAST_SPREAD)
    rng = np.random.default_rng(seed)
    dealt = [largest_gain(gains, rng.permutation(labels), error) for _ in range(SHUFFLES)]
    allowed = int(chance * (SHUFFLES + 1))
    bound = max(float(np.sort(dealt)[-allowed]), LEAST_BOUND)
    return Signal(largest_gain(gains, labels, error), bound, allowed / (SHUFFLES + 1))


def largest_gain(gains: np.ndarray, labels: np.ndarray, error: np.ndarray) -> float:
    """Return the largest mean gain over looks (E, N, K), in standard errors (E,)."""
    own = np.take_along_axis(gains, labels[None, :, None], 2)[..., 0]
    return float((own.mean(1) / error).max())


def standard_errors(gains: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the deviation (E,) of the mean gain over all deals of labels, for gains (E, N, K) of mean 0.

    With d[i, j] the gain of image i for the label of image j, and rows and columns centred, the variance is
    the sum of d² over N² (N - 1) (Hoeffding 1951, theorem 2).
    """
    n = len(labels)
    counts = np.bincount(labels, minlength=gains.shape[2])
    centred = gains - (gains @ (counts / n))[..., None]
    return np.asarray(np.sqrt((centred**2 @ counts).sum(1) / (n**2 * (n - 1))))
