"""How alike two pictures are pixel by pixel, at the best small shift of one against the other.

The measure is normalised cross-correlation over the overlap (Lewis, "Fast normalized cross-correlation",
1995): brightness and contrast drop out, and what a shift pushes over the edge is not compared. What depends
on one picture alone is prepared once; a pair then costs one product of spectra and a small inverse transform.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.lib.pooling import Floats

QUANTUM = 1 / 255
"""Variance below one grey level squared is rounding, not picture: it never correlates."""


@dataclass(frozen=True)
class Prepared:
    """What comparing needs of n pictures, for w x w shifts of which each keeps a window of the picture.

    spectrum (n, c, f, f // 2 + 1) of the pictures less their means per channel; sums (n, c, w, w) of those
    pixels in each window; variance (n, w, w) there, times the window's area, over all channels.
    """

    max_shift: int
    spectrum: npt.NDArray[np.complex64]
    sums: Floats
    variance: Floats

    def take(self, rows: npt.NDArray[np.intp]) -> "Prepared":
        """Select pictures, with repeats."""
        return Prepared(self.max_shift, self.spectrum[rows], self.sums[rows], self.variance[rows])


def prepare(images: Floats, max_shift: int) -> Prepared:
    """Prepare (n, c, s, s) in 0...1 for shifts up to `max_shift` < s pixels along both axes.

    Means are taken off per channel, so a tint drops out as brightness does.
    """
    centred = images - images.mean((2, 3), keepdims=True)
    side = images.shape[-1]
    windows = _windows(side, max_shift)
    sums = windows @ centred @ windows.T
    squares = (windows @ centred**2 @ windows.T).sum(1)
    area = _areas(windows)
    rounding = np.float32(QUANTUM**2 * images.shape[1]) * area
    variance = np.maximum(squares - (sums**2).sum(1) / area, 0) + rounding
    # Padded by the largest shift, the circular correlation is the plain one at the shifts that are asked for.
    spectrum = np.fft.rfft2(centred, (side + max_shift,) * 2).astype(np.complex64)
    return Prepared(max_shift, spectrum, sums, variance)


def residuals(first: Prepared, second: Prepared) -> Floats:
    """Return 1 - correlation at the best shift for each pair of rows, 0 for equal pictures, (n,) in 0...2."""
    opposite = np.s_[..., ::-1, ::-1]  # where `first` keeps its left part, `second` keeps its right part
    area = _areas(_windows(first.spectrum.shape[2] - first.max_shift, first.max_shift))
    products = np.einsum("nchw,nchw->nhw", first.spectrum, second.spectrum.conj())
    covariance = _inverse(products, first.max_shift)
    covariance = covariance - np.einsum("ncij,ncij->nij", first.sums, second.sums[opposite]) / area
    correlation = covariance / np.sqrt(first.variance * second.variance[opposite])
    clipped: Floats = np.clip(1 - correlation.max((1, 2)), 0, 2).astype(np.float32)
    return clipped


def _inverse(products: npt.NDArray[np.complex64], max_shift: int) -> Floats:
    """Inverse real transform at the shifts -m...m only: (n, f, f // 2 + 1) -> (n, w, w)."""
    size, kept = products.shape[1:]
    angle = 2j * np.pi / size * np.arange(-max_shift, max_shift + 1)
    down = np.exp(angle[:, None] * np.arange(size)) / size
    across = np.exp(angle[:, None] * np.arange(kept)) / size
    # A real picture's spectrum is symmetric: the half that is not stored counts by doubling what is.
    across[:, 1 : (size + 1) // 2] *= 2
    transformed = down.astype(np.complex64) @ products @ across.astype(np.complex64).T
    return np.ascontiguousarray(transformed.real)


def _windows(side: int, max_shift: int) -> Floats:
    """Which pixels each shift keeps along one axis, (2 m + 1, side) of 0 and 1."""
    shifts = np.arange(-max_shift, max_shift + 1)[:, None]
    pixel = np.arange(side)[None, :]
    kept = (pixel >= np.maximum(shifts, 0)) & (pixel < side + np.minimum(shifts, 0))
    return kept.astype(np.float32)


def _areas(windows: Floats) -> Floats:
    length = windows.sum(1)
    areas: Floats = np.outer(length, length)
    return areas
