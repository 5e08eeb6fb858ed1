"""Interval of a calibration error: a sum of absolute gaps, which noise can only make larger.

The plug-in estimate is never 0, not even for a calibrated model, and the bootstrap adds the noise once more:
its percentiles cover a calibrated model's error in none of 400 repeats. So the error is found by inverting a
test: which true gaps would show an error as small, or as large, as the one seen, once the noise of the bins
is added? True gaps are tried along one line, the observed gaps times t; for the upper end half a standard
deviation is added to each, because a line drawn from noise points too much into few bins
(`bench/coverage.py`: 0.93 to 0.97).
"""

from collections.abc import Callable

import numpy as np

from stages.lib.intervals import Interval

STEPS = 30
"""Bisections: an interval's end to a billionth of the range."""

SPREAD = 0.5
"""Standard deviations added to each gap for the upper end; 0 covers 0.91 where gaps are about the noise."""

DRAWS = 2000
"""Draws of the noise that are used at most: ends move by less than a twentieth of the width beyond."""


def gap_interval(gaps: np.ndarray, drawn: np.ndarray, confidence: float) -> Interval:
    """Return the interval of sum(|true gaps|) from gaps (B,), the bins' shares of it, and redrawn (D, B)."""
    seen = float(np.abs(gaps).sum())
    noise = drawn[:DRAWS] - gaps
    spread = noise.std(axis=0)
    tail = (1 - confidence) / 2
    # noise.mean() is about 0, so the observed gaps are the middle of the draws.
    low = _largest(lambda t: _quantile(gaps * t + noise, 1 - tail), seen)
    wide = gaps + SPREAD * np.where(gaps < 0, -spread, spread)
    high = _largest(lambda t: _quantile(wide * t + noise, tail), seen)
    return min(low * seen, seen), max(high * float(np.abs(wide).sum()), seen)


def _quantile(gaps: np.ndarray, share: float) -> float:
    return float(np.quantile(np.abs(gaps).sum(axis=1), share))


def _largest(quantile: Callable[[float], float], seen: float) -> float:
    """Return the largest t whose quantile stays under what was seen; 0 where none does."""
    if quantile(0.0) >= seen:
        return 0.0
    low, high = 0.0, 1.0
    while quantile(high) < seen:
        low, high = high, 2 * high
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if quantile(middle) < seen else (low, middle)
    return low
