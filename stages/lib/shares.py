"""Give every class its share: a floor in test that growth can only lower, a guard between val and train.

The hash of `stages/lib/assignment.py` gives each class binomial shares. Test may be corrected in one way only
that never takes a train sample in: the `least` samples of lowest draw of a class are in test whatever their
draw (`fill_test`). As the class grows others come before them, and they go; none ever comes in from train.
Val and train may exchange: the guard asks of each at least `least` samples and its fraction less `tolerance`,
and moves the fewest units that lie nearest to the border. `tolerance` 0 holds them exactly, with borders that
move as data grows; 1 is the bare hash.
"""

from dataclasses import dataclass

import numpy as np

from stages.lib.assignment import PLACES, TEST, TRAIN, VAL

N_PLACES = len(PLACES)


@dataclass(frozen=True)
class Supervised:
    """The M labelled samples that are to be shared out.

    labels (M,) int64 class positions; unit (M,) int64; u (M,) float64: the draw; fixed (M,) bool: may not
    move at all.
    """

    labels: np.ndarray
    unit: np.ndarray
    u: np.ndarray
    fixed: np.ndarray


def class_counts(labels: np.ndarray, place: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (K, 3) int64: samples of each class in test, val, train."""
    flat = np.bincount(labels * N_PLACES + place, minlength=n_classes * N_PLACES)
    return np.asarray(flat.reshape(n_classes, N_PLACES), np.int64)


def lower_bounds(
    counts: np.ndarray, fractions: tuple[float, float, float], tolerance: float, least: int
) -> np.ndarray:
    """Return (K, 3) int64: how many samples each class must have in val and train, given `counts` (K, 3).

    Test keeps what it has, so the bounds of the others shrink to what it leaves. A class with fewer than
    three times `least` samples can satisfy nobody and has bounds of 0: it is rare.
    """
    n = counts.sum(axis=1)
    # 1e-9 undoes the rounding of products such as 0.15 · 100 = 14.999….
    share = np.floor(np.maximum(np.array(fractions) - tolerance, 0) * n[:, None] + 1e-9).astype(np.int64)
    bounds = np.maximum(share, least)
    bounds[:, TEST] = counts[:, TEST]
    for row in np.flatnonzero(bounds.sum(axis=1) > n):
        _shrink(bounds[row], int(n[row]), least)
    bounds[n < N_PLACES * least] = 0
    return np.asarray(bounds, np.int64)


def _shrink(bounds: np.ndarray, n: int, least: int) -> None:
    """Lower the larger bound of val and train, in place, until all fit into `n` or none is above `least`."""
    others = bounds[[VAL, TRAIN]]
    while bounds[TEST] + others.sum() > n and others.max() > least:
        others[np.argmax(others)] -= 1
    bounds[[VAL, TRAIN]] = others


def fill_test(
    labels: np.ndarray, place: np.ndarray, u: np.ndarray, free: np.ndarray, least: int
) -> np.ndarray:
    """Return places (M,) int8 where each class has `least` samples in test, as far as `free` ones suffice.

    free (M,) bool: may be taken, that is: in no group, without an official place, untouched by rules. A group
    cannot be taken: it may have been in train before it got its first sample of this class.
    """
    n_classes = int(labels.max(initial=-1)) + 1
    there = np.bincount(labels[~free & (place == TEST)], minlength=n_classes)
    wanted = np.maximum(least - there, 0)
    rows = np.flatnonzero(free)
    rows = rows[np.lexsort((u[rows], labels[rows]))]
    position = np.arange(len(rows)) - np.searchsorted(labels[rows], labels[rows])
    filled = place.copy()
    filled[rows[position < wanted[labels[rows]]]] = TEST
    return filled


class _Index:
    """Find rows by class and by unit without scanning all of them: classes may be 10,000, rows a million."""

    def __init__(self, keys: np.ndarray) -> None:
        self.ranked = np.argsort(keys, kind="stable")
        self.sorted = keys[self.ranked]

    def rows(self, key: int) -> np.ndarray:
        start, stop = np.searchsorted(self.sorted, [key, key + 1])
        return self.ranked[start:stop]


def hold_shares(
    samples: Supervised, place: np.ndarray, bounds: np.ndarray, fractions: tuple[float, float, float]
) -> np.ndarray:
    """Return new places (M,) int8 where units moved into the splits that fall short of `bounds` (K, 3).

    Only between val and train. Units move whole, nearest to the split's interval first, and only if no class
    falls under its bound where they leave: every move shrinks the total shortage, so this ends. What cannot
    be had stays short.
    """
    place = place.copy()
    counts = class_counts(samples.labels, place, len(bounds))
    by_class, by_unit = _Index(samples.labels), _Index(samples.unit)
    edges = np.concatenate([[0.0], np.cumsum(fractions)])
    for name, target in np.argwhere(counts < bounds).tolist():
        for unit in _candidates(samples, place, by_class.rows(name), target, edges):
            if counts[name, target] >= bounds[name, target]:
                break
            members = by_unit.rows(unit)
            if not samples.fixed[members].any():
                _move(samples.labels[members], counts, bounds, place, members, target)
    return place


def _candidates(
    samples: Supervised, place: np.ndarray, rows: np.ndarray, target: int, edges: np.ndarray
) -> list[int]:
    """Return the units of `rows` that lie elsewhere, nearest to the target's interval first."""
    rows = rows[place[rows] == (VAL if target == TRAIN else TRAIN)]
    u = samples.u[rows]
    distance = np.maximum(np.maximum(edges[target] - u, u - edges[target + 1]), 0)
    return list(dict.fromkeys(samples.unit[rows[np.lexsort((u, distance))]].tolist()))


def _move(
    labels: np.ndarray,
    counts: np.ndarray,
    bounds: np.ndarray,
    place: np.ndarray,
    members: np.ndarray,
    target: int,
) -> None:
    """Move one unit, in place, unless a class would then fall short where the unit leaves."""
    names, leaving = np.unique(labels, return_counts=True)
    donor = int(place[members[0]])
    if (counts[names, donor] - leaving >= bounds[names, donor]).all():
        counts[names, donor] -= leaving
        counts[names, target] += leaving
        place[members] = target
