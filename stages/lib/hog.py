"""Histograms of oriented gradients, for a whole batch at once and for any image size.

Source: Dalal & Triggs, "Histograms of oriented gradients for human detection", CVPR 2005: unsigned
gradients, votes shared linearly between neighbouring orientations and cells, overlapping 2x2 blocks
normalised by L2, clipped and normalised again (L2-Hys). Cells are pooled by weight matrices, so their number
does not depend on the image's size.
"""

import numpy as np

from stages.lib.pooling import Floats, pool, triangle_weights

CLIP = 0.2
"""L2-Hys: no single orientation may own more than a fifth of a block (Dalal & Triggs 2005, section 6.4)."""

FLAT = 0.02
"""A block of less gradient than this (grey in 0...1; about five grey levels of 255) fades to zero: otherwise
sensor noise on a plain background is blown up to full length."""

ROUNDING = 0.25 / 255
"""Gradients under a quarter of a grey level are what averaging leaves of a flat area, not an edge."""


def orientation_votes(grey: Floats, orientations: int) -> Floats:
    """Share each pixel's gradient between its two nearest orientations: (n, s, s) -> (n, o, s, s)."""
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    gx = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    gy = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    turn = np.arctan2(gy, gx) * np.float32(orientations / np.pi)  # a half turn holds all bins: unsigned
    bins = np.arange(orientations, dtype=np.float32)[None, :, None, None]
    apart = np.abs(turn[:, None] - bins) % orientations
    apart = np.minimum(apart, orientations - apart)
    magnitude = np.hypot(gx, gy)
    magnitude[magnitude < ROUNDING] = 0
    votes: Floats = np.clip(1 - apart, 0, None) * magnitude[:, None]
    return votes


def normalised_blocks(cells: Floats) -> Floats:
    """Overlapping 2x2 blocks of histograms under L2-Hys: (n, o, c, c) -> (n, 4 * o * (c - 1)**2)."""
    corners = [cells[:, :, :-1, :-1], cells[:, :, :-1, 1:], cells[:, :, 1:, :-1], cells[:, :, 1:, 1:]]
    blocks = np.concatenate(corners, axis=1)
    blocks = np.minimum(_unit(blocks), CLIP)
    flat: Floats = _unit(blocks).reshape(len(blocks), -1)
    return flat


def _unit(blocks: Floats) -> Floats:
    scaled: Floats = blocks / np.sqrt((blocks**2).sum(1, keepdims=True) + np.float32(FLAT**2))
    return scaled


def hog(grey: Floats, cells: int, orientations: int) -> Floats:
    """Describe square grey images in 0...1 by c x c histograms: (n, s, s) -> (n, 4 * o * (c - 1)**2)."""
    histograms = pool(orientation_votes(grey, orientations), triangle_weights(grey.shape[-1], cells))
    return normalised_blocks(histograms)


def mirrored_columns(cells: int, orientations: int) -> np.ndarray:
    """Where each number of a mirrored image's `hog` stands in the image's own: (d,) int64, exact.

    Columns of cells change places, and a gradient's angle t becomes pi - t: bin b becomes -b, in half a turn.
    """
    place = np.arange(4 * orientations * (cells - 1) ** 2)
    corners = place.reshape(2, 2, orientations, cells - 1, cells - 1)[:, ::-1, :, :, ::-1]
    return corners[:, :, -np.arange(orientations) % orientations].ravel()
