"""Square images averaged to a coarser grid by weight matrices: any size to any number of cells, no loops."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Grey from RGB as in ITU-R BT.601, which JPEG uses."""


def grey(images: Floats) -> Floats:
    """Merge channels, (n, c, s, s) -> (n, s, s)."""
    merged: Floats = images[:, 0] if images.shape[1] == 1 else np.einsum("ncij,c->nij", images, LUMA)
    return merged


def area_weights(size: int, cells: int) -> Floats:
    """Each cell averages its share of `size` pixels, border ones by area: (cells, size), rows sum to 1."""
    edges = np.linspace(0.0, size, cells + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights = np.clip(overlap, 0.0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), dtype=np.float32)


def triangle_weights(size: int, cells: int) -> Floats:
    """Each pixel votes for the two cells whose centres it lies between: (cells, size), columns sum to 1."""
    position = (np.arange(size) + 0.5) * cells / size - 0.5
    weights = 1.0 - np.abs(np.arange(cells)[:, None] - np.clip(position, 0, cells - 1))
    return np.asarray(np.clip(weights, 0.0, None), dtype=np.float32)


def pool(images: Floats, weights: Floats) -> Floats:
    """Apply `weights` (c, s) along both image axes: (..., s, s) -> (..., c, c)."""
    return np.asarray(weights @ images @ weights.T, dtype=np.float32)


def planes(pixels: npt.NDArray[np.uint8], max_side: int) -> Floats:
    """Put channels first, in 0...1, shrunk down to `max_side` where larger: (n, s, s, c) -> (n, c, t, t)."""
    images = np.ascontiguousarray(np.moveaxis(pixels, 3, 1), dtype=np.float32) / np.float32(255)
    side = images.shape[-1]
    return images if side <= max_side else pool(images, area_weights(side, max_side))
