"""Near copies: pictures far more alike, pixel by pixel, than neighbours in their neighbourhood are.

An absolute bound on likeness cannot serve all data: two different handwritten digits of 8 x 8 pixels may
correlate by 0.99, two shots of one car by 0.9. So a pair's residual (1 - correlation at the best small shift)
is held against that of a farther neighbour: a ratio to the local density, as in Lowe's ratio test
("Distinctive image features", IJCV 2004, section 7.1), here with room for several copies of one picture.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.lib.alignment import prepare, residuals
from stages.lib.neighbours import Indices, nearest
from stages.lib.pooling import Floats, planes
from stages.lib.progress import track

VERIFY_SIDE = 32
"""Pictures are compared at most this large. At 16, colour images of 32 x 32 moved by one pixel (half a pixel
at 16) no longer agree: 8 of 27 found, against 27 at 32."""

CHUNK = 1024
"""Pairs compared at once: about 40 MB for colour."""

FARTHER = 3
"""Places from a picture's last copy to the neighbour that says what is usual. On digits (20 plantings, bound
0.2) 3 to 5 find 0.996 of the copies and nothing else; 2 finds fewer, 6 and more take look-alikes for copies.
"""


@dataclass(frozen=True)
class NearPairs:
    """Accepted pairs, best first: positions first < second (m,), ratio (m,) in 0...threshold."""

    first: Indices
    second: Indices
    ratio: Floats


def near_pairs(
    pixels: npt.NDArray[np.uint8], embeddings: Floats, neighbours: int, max_shift: float, threshold: float
) -> NearPairs:
    """Search copies among distinct pictures (n, s, s, c) with embeddings (n, d).

    max_shift is a fraction of the side; a pair is accepted where its residual is at most `threshold` times
    the usual one of both pictures' places. Fewer than four pictures make no neighbourhood, and no pair.
    """
    k = min(neighbours, len(pixels) - 1)
    if k < FARTHER:
        return NearPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    found = nearest(embeddings, k)
    residual = neighbour_residuals(pixels, found, max_shift)
    usual = usual_residual(residual, threshold)
    first, second = np.repeat(np.arange(len(found)), k), found.ravel()
    ratio = residual.ravel() / np.sqrt(usual[first] * usual[second])
    return _best_of_each(first, second, ratio, threshold)


def neighbour_residuals(pixels: npt.NDArray[np.uint8], found: Indices, max_shift: float) -> Floats:
    """Compare each picture with its neighbours, found (n, k) -> (n, k)."""
    shift = int(min(pixels.shape[1], VERIFY_SIDE) * max_shift)
    rows = max(1, CHUNK // found.shape[1])
    compared = []
    for start in track(range(0, len(found), rows), "neighbourhoods compared"):
        near = found[start : start + rows]
        numbers, place = np.unique(near, return_inverse=True)
        own = prepare(planes(pixels[start : start + rows], VERIFY_SIDE), shift)
        others = prepare(planes(pixels[numbers], VERIFY_SIDE), shift)
        each = np.repeat(np.arange(len(near)), near.shape[1])
        compared.append(residuals(own.take(each), others.take(place.ravel())).reshape(near.shape))
    return np.concatenate(compared)


def usual_residual(residual: Floats, threshold: float) -> Floats:
    """Say what is usual at each picture's place, where no copies are: (n, k) -> (n,).

    Sorted, the residuals of a picture with m copies jump after the m-th. The usual one is that of the
    neighbour FARTHER places beyond the last jump (by more than 1 / threshold over FARTHER places), or the
    picture's own FARTHER-th. Where all k neighbours are copies (a burst of one scene) there is no jump: such
    a place lies closer together, by the same threshold, than the typical place, whose value stands in.
    """
    ranked = np.sort(residual, axis=1)
    jumps = ranked[:, :-FARTHER] <= threshold * ranked[:, FARTHER:]
    n_copies = np.where(jumps, np.arange(1, jumps.shape[1] + 1), 0).max(axis=1, initial=0)
    local = ranked[np.arange(len(ranked)), n_copies + FARTHER - 1]
    typical = np.median(local)
    usual: Floats = np.where(local <= threshold * typical, typical, local)
    return np.maximum(usual, np.finfo(np.float32).eps)


def _best_of_each(first: Indices, second: Indices, ratio: Floats, threshold: float) -> NearPairs:
    accepted = np.flatnonzero(ratio <= threshold)
    low, high = np.minimum(first, second)[accepted], np.maximum(first, second)[accepted]
    order = np.lexsort((high, low, ratio[accepted]))
    low, high, ratio = low[order], high[order], ratio[accepted][order]
    _, once = np.unique(np.stack([low, high], axis=1), axis=0, return_index=True)
    once.sort()  # each pair was seen from both ends: keep its better place
    return NearPairs(low[once], high[once], ratio[once].astype(np.float32))
