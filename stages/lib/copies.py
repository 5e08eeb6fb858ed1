"""Near copies: candidates whose pixels agree far better than those of other pictures thereabouts.

How well unlike pictures agree differs between data and between places in it: two handwritten digits of 8 x 8
pixels by 0.95, two ships on a horizon by 0.6, two street scenes by 0.2. So a pair's residual (1 - correlation
of texture, lib/alignment.py) is held against what is usual among the neighbours of both pictures.
"""

import numpy as np
import numpy.typing as npt

from stages.lib.alignment import Limits, residuals
from stages.lib.candidates import Candidates
from stages.lib.neighbours import Indices
from stages.lib.pooling import Floats
from stages.lib.progress import track

Thumbnails = npt.NDArray[np.uint8]

CHUNK_NUMBERS = 2**19
"""Pixels of the pairs compared at once: working arrays stay in the processor's cache (20 times as many
numbers)."""

FARTHER = 3
"""Places from a picture's last copy to the neighbour that says what is usual. On digits (20 plantings, bound
0.2) 3 to 5 find 0.996 of the copies and nothing else; 2 finds fewer, 6 and more take look-alikes for copies.
"""

REFERENCE_PIXELS, LEAST_REFERENCES = 50_000_000, 8
"""A place's neighbours are compared to say what is usual there: 40 of 1,800 digits (9 are too few to see past
five copies), the 8 nearest in a large set of photographs."""

TYPICAL_FROM = 256
"""Pictures, evenly spaced, whose neighbourhoods say what is typical."""


def compare(
    thumbnails: Thumbnails, first: Indices, second: Indices, mirrored: npt.NDArray[np.bool_], limits: Limits
) -> Floats:
    """Return the residual of each pair of rows of (n, t, t), `second` mirrored where asked: (m,) in 0...2."""
    found = np.empty(len(first), np.float32)
    step = max(1, CHUNK_NUMBERS // int(np.prod(thumbnails.shape[1:])))
    for start in track(range(0, len(first), step), "pairs compared, chunks"):
        rows = slice(start, start + step)
        one = thumbnails[first[rows]].astype(np.float32) / np.float32(255)
        other = thumbnails[second[rows]].astype(np.float32) / np.float32(255)
        turn = mirrored[rows]
        other[turn] = other[turn][:, :, ::-1]
        found[rows] = residuals(one, other, limits)
    return found


def residual_ratios(
    thumbnails: Thumbnails, pairs: Candidates, neighbours: Indices, limits: Limits, threshold: float
) -> Floats:
    """Return each pair's residual over the usual one of both places, (m,).

    neighbours (n, k >= FARTHER), nearest first. What is usual is measured where a pair could pass if its
    place were the least dense of all; for the rest of the pairs it is what is typical of the set."""
    residual = compare(thumbnails, pairs.first, pairs.second, pairs.mirrored, limits)
    spread = np.unique(np.linspace(0, len(neighbours) - 1, TYPICAL_FROM).astype(np.int64))
    sample = _local(_around(thumbnails, spread, neighbours, limits), threshold)
    typical = float(np.median(sample))
    usual = np.full(len(neighbours), typical, np.float32)
    passing = residual <= threshold * sample.max()
    places = np.unique(np.concatenate([pairs.first[passing], pairs.second[passing]]))
    around = _around(thumbnails, places, neighbours, limits)
    usual[places] = usual_residual(around, threshold, typical)
    ratio: Floats = residual / np.sqrt(usual[pairs.first] * usual[pairs.second])
    return ratio


def _around(thumbnails: Thumbnails, places: Indices, neighbours: Indices, limits: Limits) -> Floats:
    """Compare each place with its nearest neighbours, as many as REFERENCE_PIXELS allow: (len(places), k)."""
    affordable = REFERENCE_PIXELS // (max(1, len(places)) * int(np.prod(thumbnails.shape[1:])))
    near = neighbours[places, : max(LEAST_REFERENCES, affordable)]
    first, second = np.repeat(places, near.shape[1]), near.ravel()
    return compare(thumbnails, first, second, np.zeros(len(first), bool), limits).reshape(near.shape)


def usual_residual(residual: Floats, threshold: float, typical: float) -> Floats:
    """Say what is usual at each picture's place, where no copies are: (n, k) -> (n,).

    Where all k neighbours are copies (a burst of one scene) there is no jump to go by: such a place lies
    closer together, by the same threshold, than the typical place, whose value stands in."""
    local = _local(residual, threshold)
    usual: Floats = np.where(local <= threshold * typical, np.float32(typical), local)
    return np.maximum(usual, np.finfo(np.float32).eps)


def _local(residual: Floats, threshold: float) -> Floats:
    """Sorted, the residuals of a picture with m copies jump after the m-th.

    What is usual is that of the neighbour FARTHER places beyond the last jump (by more than 1 / threshold
    over FARTHER places), or the picture's own FARTHER-th."""
    ranked = np.sort(residual, axis=1)
    jumps = ranked[:, :-FARTHER] <= threshold * ranked[:, FARTHER:]
    n_copies = np.where(jumps, np.arange(1, jumps.shape[1] + 1), 0).max(axis=1, initial=0)
    local: Floats = ranked[np.arange(len(ranked)), n_copies + FARTHER - 1]
    return np.maximum(local, np.finfo(np.float32).eps)
