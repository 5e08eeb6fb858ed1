"""Histograms of oriented gradients, for a whole batch at once and for any image size.

Source: Dalal & Triggs, "Histograms of oriented gradients for human detection", CVPR 2005: unsigned
gradients, votes shared linearly between neighbouring orientations and cells, overlapping 2x2 blocks
normalised by L2, clipped and normalised again (L2-Hys). Pooling by weight matrices instead of loops over
pixels makes the number of cells independent of the image's size.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# L2-Hys: no single orientation may own more than a fifth of a block (Dalal & Triggs 2005, section 6.4).
CLIP = 0.2
# Below this block energy (grey values in 0...1, so about one grey level of 255 at one pixel) a block is flat:
# its histogram fades to zero rather than blowing sensor noise up to full length.
FLAT = 0.02


def area_weights(size: int, cells: int) -> Floats:
    """Rows average `size` pixels into `cells` equal intervals, (cells, size); each row sums to 1."""
    edges = np.linspace(0.0, size, cells + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights = np.clip(overlap, 0.0, None)
    return np.asarray(weights / weights.sum(1, keepdims=True), dtype=np.float32)


def triangle_weights(size: int, cells: int) -> Floats:
    """Each pixel votes linearly for the two cells whose centres it lies between, (cells, size)."""
    position = (np.arange(size) + 0.5) * cells / size - 0.5
    weights = 1.0 - np.abs(np.arange(cells)[:, None] - np.clip(position, 0, cells - 1))
    return np.asarray(np.clip(weights, 0.0, None), dtype=np.float32)


def pool(images: Floats, weights: Floats) -> Floats:
    """Apply `weights` (c, s) along both image axes: (..., s, s) -> (..., c, c)."""
    pooled: Floats = weights @ images @ weights.T
    return pooled


def orientation_votes(images: Floats, orientations: int) -> Floats:
    """Gradient magnitude of each pixel, shared between its two nearest orientations: (n, s, s) -> (n, o, s, s)."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    gx = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    gy = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    magnitude = np.hypot(gx, gy)
    turn = np.arctan2(gy, gx) * np.float32(orientations / np.pi)  # unsigned: one half turn holds all bins
    distance = np.abs(turn[:, None] - np.arange(orientations, dtype=np.float32)[None, :, None, None])
    distance %= orientations
    distance = np.minimum(distance, orientations - distance)
    votes: Floats = np.clip(1.0 - distance, 0.0, None) * magnitude[:, None]
    return votes


def normalise_blocks(cells: Floats) -> Floats:
    """Overlapping 2x2 blocks of cell histograms under L2-Hys: (n, o, c, c) -> (n, 4 * o * (c-1) * (c-1))."""
    corners = [cells[:, :, :-1, :-1], cells[:, :, :-1, 1:], cells[:, :, 1:, :-1], cells[:, :, 1:, 1:]]
    blocks = np.concatenate(corners, axis=1)
    blocks = blocks / np.sqrt((blocks**2).sum(1, keepdims=True) + FLAT**2)
    blocks = np.minimum(blocks, CLIP)
    blocks = blocks / np.sqrt((blocks**2).sum(1, keepdims=True) + FLAT**2)
    flat: Floats = blocks.reshape(len(blocks), -1)
    return flat


def hog(images: Floats, cells: int, orientations: int) -> Floats:
    """Describe square grey images (n, s, s) in 0...1 by block-normalised gradient histograms, (n, d)."""
    votes = orientation_votes(images, orientations)
    histograms = pool(votes, triangle_weights(images.shape[-1], cells))
    return normalise_blocks(histograms)
