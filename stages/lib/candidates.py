"""Which pairs of pictures may be copies: those much nearer to each other than to their farther neighbours.

A bound on distance cannot serve all data, nor all of one set: clear skies lie close together, crowds of
people do not. So the distance of a pair is held against that to a farther neighbour of both (Lowe's ratio
test, "Distinctive image features", IJCV 2004, section 7.1; with room for several copies of one picture)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.lib.neighbours import Found, Indices
from stages.lib.pooling import Floats

FARTHER = 20
"""Which neighbour says how dense it is around a picture. On the even half of CIFAR-10's judged copies the 5th
to the 40th serve alike (0.65 to 0.66 among the first 500 pairs)."""

TOUCHING = 1e-5
"""Distances below this are rounding: where all vectors are equal, nobody is nearer than usual."""


BLOCK = 65_536
"""Pictures whose neighbours are gone through at once: a bound on working memory."""

SEEN = 4
"""A pair may appear so many times: from both ends, as it is and mirrored."""


@dataclass(frozen=True)
class Candidates:
    """Pairs first < second (m,), each once; whether `second` is to be mirrored; density (m,), low is likely.

    density is the pair's distance over the geometric mean of the distances to both pictures' farther
    neighbour."""

    first: Indices
    second: Indices
    mirrored: npt.NDArray[np.bool_]
    density: Floats

    @classmethod
    def none(cls) -> "Candidates":
        """No pair."""
        nobody = np.empty(0, np.int64)
        return cls(nobody, nobody, np.empty(0, bool), np.empty(0, np.float32))

    def take(self, rows: npt.NDArray[np.int64]) -> "Candidates":
        """Select pairs."""
        return Candidates(self.first[rows], self.second[rows], self.mirrored[rows], self.density[rows])


def candidates(found: Found, mirrored: Found | None, most: int) -> Candidates:
    """Return the `most` likeliest pairs among the neighbours of each picture, and of its mirror image."""
    far = found.distances[:, min(FARTHER, found.distances.shape[1]) - 1]
    sources = [(found, False)] + ([(mirrored, True)] if mirrored is not None else [])
    joined, waiting = Candidates.none(), list[Candidates]()
    for source, turned in sources:
        for start in range(0, len(far), BLOCK):
            waiting.append(_pairs(source, far, turned, start))
            if sum(len(part.first) for part in waiting) > SEEN * most:
                joined, waiting = _likeliest([joined, *waiting], SEEN * most), []
    joined = _likeliest([joined, *waiting], SEEN * most)
    # The likelier of a pair's appearances stays.
    order = np.lexsort((joined.mirrored, joined.density, joined.second, joined.first))
    first, second = joined.first[order], joined.second[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    once = joined.take(order[fresh])
    return once.take(np.sort(np.argsort(once.density, kind="stable")[:most]))


def _likeliest(parts: list[Candidates], most: int) -> Candidates:
    """Join parts and keep the `most` of least density, and those equal to the last of them."""
    joined = Candidates(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Candidates.__annotations__)
    )
    return joined.take(_smallest(joined.density, most))


def _pairs(found: Found, far: Floats, mirrored: bool, start: int) -> Candidates:
    """Pair the pictures from `start` on, BLOCK of them, with their neighbours."""
    indices, distances = found.indices[start : start + BLOCK], found.distances[start : start + BLOCK]
    one, other = np.repeat(np.arange(start, start + len(indices)), indices.shape[1]), indices.ravel()
    usual = np.sqrt(far[one] * far[other])
    density = (distances.ravel() + TOUCHING) / (usual + TOUCHING)
    rows = np.flatnonzero(np.isfinite(density))
    first, second = np.minimum(one, other)[rows], np.maximum(one, other)[rows]
    return Candidates(first, second, np.full(len(rows), mirrored), density[rows].astype(np.float32))


def _smallest(values: Floats, most: int) -> npt.NDArray[np.int64]:
    """Return where the `most` smallest values are, and those equal to the largest of them, in place order."""
    if len(values) <= most:
        return np.arange(len(values))
    return np.flatnonzero(values <= np.partition(values, most)[most])
