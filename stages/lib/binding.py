"""Keep together what belongs together, so that nothing enters test whose own draw is not test.

A group is a group of copies (found or judged) or a group that the user named. Its leader is its member of
lowest rank among those with a class, an official one before all others. If the leader lies in test, members
whose own place is not test sit out; if it does not, members whose own place is test sit out, and the others
follow it between val and train, unless a group of the user's holds them where they are. So whatever is found,
judged or added later, a sample of train will never be in test, nor one of test in train.

Why the leader and not "test wins": a scene with ten shots would have one in test nine times of ten, and train
would lose nine of ten such scenes. By the leader each part keeps its share of scenes, whatever their size.
Members with an official place stay where it says even where they contradict each other: such a leak was
published, and `lib/leaks.py` lists it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stages.lib.assignment import TEST, TRAIN, Placement
from stages.lib.components import components

NOBODY = -1


@dataclass(frozen=True)
class Bound:
    """N samples after binding: place (N,) int8; out (N,) bool: sits out; leader (N,) int64: for whom one sits
    out or whom one follows, NOBODY for all others."""

    place: np.ndarray
    out: np.ndarray
    leader: np.ndarray


def bind(
    placement: Placement,
    sample_ids: Sequence[str],
    groupings: Sequence[Sequence[str | None]],
    used: np.ndarray,
) -> Bound:
    """Settle each grouping among the `used` (N,) bool samples; others keep their place and lead nobody."""
    place = _returned(placement, groupings, used)
    first = np.lexsort((_alphabetical(sample_ids), placement.rank, ~placement.official))
    order = np.empty(len(first), np.int64)
    order[first] = np.arange(len(first))
    codes = [group_codes(grouping) for grouping in groupings]
    free = ~placement.official & (np.sum([code >= 0 for code in codes], axis=0) == 1)
    final, leader, out = place.copy(), np.full(len(place), NOBODY, np.int64), np.zeros(len(place), bool)
    for code in codes:
        own_leader, forbidden = _astray(code, place, placement.official, order, used)
        astray = own_leader != NOBODY
        follows = astray & free & ~forbidden
        final[follows] = place[own_leader[follows]]
        leader = np.where(leader == NOBODY, own_leader, leader)
        out |= astray & ~follows
    return Bound(final, out, leader)


def _alphabetical(sample_ids: Sequence[str]) -> np.ndarray:
    order = np.empty(len(sample_ids), np.int64)
    order[sorted(range(len(sample_ids)), key=sample_ids.__getitem__)] = np.arange(len(sample_ids))
    return order


def _returned(
    placement: Placement, groupings: Sequence[Sequence[str | None]], used: np.ndarray
) -> np.ndarray:
    """Return places where what official train lent to val is back in train wherever a companion is there."""
    if not placement.lent.any():
        return placement.place
    unit = units_of(groupings, used)
    in_train = np.zeros(len(unit), bool)
    in_train[unit[used & (placement.place == TRAIN)]] = True
    return np.where(placement.lent & used & in_train[unit], TRAIN, placement.place).astype(np.int8)


def _astray(
    group: np.ndarray, place: np.ndarray, official: np.ndarray, order: np.ndarray, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the leader (N,) int64 of who lies elsewhere, else NOBODY, and (N,) bool who may not follow."""
    found, forbidden = np.full(len(group), NOBODY, np.int64), np.zeros(len(group), bool)
    rows = np.flatnonzero(used & (group >= 0))
    if not len(rows):
        return found, forbidden
    rows = rows[np.lexsort((order[rows], group[rows]))]
    _, first, position = np.unique(group[rows], return_index=True, return_inverse=True)
    leader = rows[first][position]
    differs = place[rows] != place[leader]
    # Official members may contradict each other; then there is no place beside all of them.
    torn = np.zeros(len(first), bool)
    torn[position[official[rows] & differs]] = True
    astray = ~official[rows] & (differs | torn[position])
    found[rows[astray]] = leader[astray]
    forbidden[rows] = torn[position] | (place[rows] == TEST) | (place[leader] == TEST)
    return found, forbidden


def group_codes(grouping: Sequence[str | None]) -> np.ndarray:
    """Return (N,) int64: a number for each group, by first appearance, and -1 for None."""
    number: dict[str, int] = {}
    return np.array(
        [-1 if name is None else number.setdefault(name, len(number)) for name in grouping], np.int64
    )


def units_of(groupings: Sequence[Sequence[str | None]], used: np.ndarray) -> np.ndarray:
    """Return (N,) int64: the connected component of each sample over all groupings, `used` samples only."""
    return components(len(used), (pair for grouping in groupings for pair in _to_first(grouping, used)))


def _to_first(grouping: Sequence[str | None], used: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield each group as a star: every used member with the group's first."""
    first: dict[str, int] = {}
    for position in np.flatnonzero(used).tolist():
        group = grouping[position]
        if group is not None:
            yield first.setdefault(group, position), position


def straddling_units(unit: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the units (M,) int64 whose members lie in more than one place."""
    size = int(unit.max(initial=-1)) + 1
    low, high = np.full(size, np.iinfo(np.int8).max, np.int8), np.full(size, -1, np.int8)
    np.minimum.at(low, unit, place)
    np.maximum.at(high, unit, place)
    return np.flatnonzero(low < high)
