"""How alike two pictures are pixel by pixel, at the best small shift of one against the other.

The measure is normalised cross-correlation over the overlap (Lewis, "Fast normalized cross-correlation",
1995): brightness and contrast drop out, and what a shift pushes over the edge is not compared. All shifts of
a pair come from one product of Fourier transforms.
"""

import numpy as np

from stages.lib.pooling import Floats

QUANTUM = 1 / 255
"""Variance below one grey level squared is rounding, not picture: it never correlates."""


def residuals(first: Floats, second: Floats, max_shift: int) -> Floats:
    """Return 1 - correlation at the best shift, 0 for equal pictures: two (n, c, s, s) -> (n,) in 0...2.

    Pixels lie in 0...1. Shifts run to `max_shift` < s pixels along both axes; means are taken per channel, so
    a tint drops out too.
    """
    first = first - first.mean((2, 3), keepdims=True)
    second = second - second.mean((2, 3), keepdims=True)
    side, channels = first.shape[-1], first.shape[1]
    counts = _overlap_counts(side, max_shift)
    sum_a, square_a = _overlap_sums(first, max_shift)
    sum_b, square_b = (sums[:, :, ::-1, ::-1] for sums in _overlap_sums(second, max_shift))
    covariance = (_cross_sums(first, second, max_shift) - sum_a * sum_b / counts).sum(1)
    floor = channels * counts * np.float32(QUANTUM**2)
    variance_a = np.maximum((square_a - sum_a**2 / counts).sum(1), 0) + floor
    variance_b = np.maximum((square_b - sum_b**2 / counts).sum(1), 0) + floor
    correlation = covariance / np.sqrt(variance_a * variance_b)
    return np.clip(1 - correlation.reshape(len(first), -1).max(1), 0, 2).astype(np.float32)


def _cross_sums(first: Floats, second: Floats, max_shift: int) -> Floats:
    """Sum of products at each shift d: sum over x of first[x + d] * second[x], (n, c, 2m + 1, 2m + 1)."""
    size = (first.shape[-1] + max_shift,) * 2
    product = np.fft.rfft2(first, size) * np.fft.rfft2(second, size).conj()
    circular = np.fft.irfft2(product, size)
    shifts = np.arange(-max_shift, max_shift + 1)
    sums: Floats = circular[:, :, shifts[:, None], shifts]
    return sums


def _overlap(side: int, max_shift: int) -> Floats:
    """Which pixels of `first` each shift keeps, along one axis: (2m + 1, side) of 0 and 1."""
    shifts = np.arange(-max_shift, max_shift + 1)[:, None]
    pixel = np.arange(side)[None, :]
    kept = (pixel >= np.maximum(shifts, 0)) & (pixel < side + np.minimum(shifts, 0))
    return kept.astype(np.float32)


def _overlap_counts(side: int, max_shift: int) -> Floats:
    kept = _overlap(side, max_shift).sum(1)
    return kept[:, None] * kept[None, :]


def _overlap_sums(images: Floats, max_shift: int) -> tuple[Floats, Floats]:
    kept = _overlap(images.shape[-1], max_shift)
    return kept @ images @ kept.T, kept @ images**2 @ kept.T
