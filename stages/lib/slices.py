"""Where the model fails: slices of test by class, picture, group and size, the worst tested and corrected.

Every value of every attribute, and every pair of values of two attributes, that holds enough images is held
against the rest of test: Fisher's exact test in which a group of images counts once, corrected by Holm for
how many slices were looked at. Looking for the worst of many slices finds bad ones by chance: only those that
remain after the correction are shown as worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from stages.lib.intervals import Interval, accuracy_interval, holm

COLUMNS = ("slice", "n", "top1_accuracy", "ci_low", "ci_high", "rest_accuracy", "p_value", "p_value_holm")

MOST_SLICES = 2000
"""Slices that are tested at most, the largest first: with more, a correction leaves nothing to be found."""


@dataclass(frozen=True)
class Slice:
    """Test images with these values of attributes, and how they fare against all others."""

    values: tuple[tuple[str, str], ...]
    n: int
    accuracy: float
    interval: Interval
    rest: float
    p_value: float
    p_value_holm: float

    @property
    def name(self) -> str:
        """Return "class = cat, quality = blurry"."""
        return ", ".join(f"{attribute} = {value}" for attribute, value in self.values)

    def row(self) -> tuple[object, ...]:
        """Return the row of COLUMNS."""
        return (self.name, self.n, self.accuracy, *self.interval, self.rest, self.p_value, self.p_value_holm)


def find_slices(
    right: np.ndarray,
    groups: np.ndarray,
    attributes: Mapping[str, Sequence[str]],
    min_size: int,
    confidence: float,
) -> list[Slice]:
    """Return all tested slices of test, the surest to be worse first.

    right (N,) bool; groups (N,) int 0..G-1; attributes: {name: N values}, "" where a sample has none.
    """
    members = _members(attributes, min_size, len(right))
    found = [_facts(right, groups, rows, confidence) for rows in members.values()]
    corrected = holm([facts[3] for facts in found])
    slices = [
        Slice(values, int(rows.sum()), *facts, p_holm)
        for (values, rows), facts, p_holm in zip(members.items(), found, corrected, strict=True)
    ]
    return sorted(slices, key=lambda one: (one.p_value_holm, one.p_value, one.accuracy, one.values))


def _members(
    attributes: Mapping[str, Sequence[str]], min_size: int, n: int
) -> dict[tuple[tuple[str, str], ...], np.ndarray]:
    """Return which samples each slice holds: enough of them, and enough beside it."""
    single: dict[tuple[tuple[str, str], ...], np.ndarray] = {}
    for attribute, values in attributes.items():
        column = np.array(values, dtype=np.str_)
        names, counts = np.unique(column, return_counts=True)
        for name, count in zip(names.tolist(), counts.tolist(), strict=True):
            if name and min_size <= count <= n - min_size:
                single[((attribute, name),)] = column == name
    pairs = {}
    for (first, a), (second, b) in combinations(single.items(), 2):
        both = a & b if first[0][0] != second[0][0] else None
        # A pair that is all of one of its parts says nothing new.
        if both is not None and min_size <= both.sum() < min(a.sum(), b.sum()):
            pairs[first + second] = both
    found = single | pairs
    largest = sorted(found, key=lambda values: (len(values), -int(found[values].sum()), values))
    return {values: found[values] for values in largest[:MOST_SLICES]}


def _facts(
    right: np.ndarray, groups: np.ndarray, rows: np.ndarray, confidence: float
) -> tuple[float, Interval, float, float]:
    among = np.unique(groups[rows], return_inverse=True)[1]
    interval = accuracy_interval(right[rows], among, confidence)
    inside = _by_group(right[rows], among)
    outside = _by_group(right[~rows], np.unique(groups[~rows], return_inverse=True)[1])
    p_value = fisher(*inside, *outside)
    return float(right[rows].mean()), interval, float(right[~rows].mean()), p_value


def _by_group(right: np.ndarray, groups: np.ndarray) -> tuple[int, int]:
    """Return (wrong, all) groups; one is wrong where half of its images are or more.

    Dividing counts by the design effect would not do: twenty copies of one failure still left three.
    """
    sizes = np.bincount(groups)
    wrong = np.bincount(groups, weights=~right)
    return int((2 * wrong >= sizes).sum()), len(sizes)


def fisher(wrong_a: int, n_a: int, wrong_b: int, n_b: int) -> float:
    """Return Fisher's exact two-sided p-value that a and b have the same share of wrong ones."""
    n, wrong = n_a + n_b, wrong_a + wrong_b
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    possible = np.arange(max(0, wrong - n_b), min(wrong, n_a) + 1)
    chances = (
        _choose(logs, n_a, possible)
        + _choose(logs, n_b, wrong - possible)
        - _choose(logs, n, np.array(wrong))
    )
    weights = np.exp(chances)
    seen = weights[wrong_a - possible[0]]
    return min(1.0, float(weights[weights <= seen * (1 + 1e-7)].sum()))


def _choose(logs: np.ndarray, n: int, k: np.ndarray) -> np.ndarray:
    return np.asarray(logs[n] - logs[k] - logs[n - k])


def summary(slices: Sequence[Slice], confidence: float) -> dict[str, Any]:
    """Return how many slices were tested, how many are worse than the rest, and the worst of these."""
    worse = worse_slices(slices, confidence)
    return {
        "n_tested": len(slices),
        "n_worse": len(worse),
        "worst_accuracy": min((one.accuracy for one in worse), default=None),
    }


def worse_slices(slices: Sequence[Slice], confidence: float) -> list[Slice]:
    """Return the slices that are worse than the rest after the correction."""
    return [one for one in slices if one.accuracy < one.rest and one.p_value_holm <= 1 - confidence]
