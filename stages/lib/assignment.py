"""Where a sample belongs, test, val or train: a pure function of ids, groups, official split and salt.

What must stay together is a unit: a connected component of near-duplicate groups and user groups. A unit
lies where its leader lies, and a leader is placed by a hash of itself alone (`u < test_fraction` is test,
then val, then train). Labels and other samples play no part, so growth moves nothing but members of units
that merge.

Why a hash and no exact stratification: a pure rule that never takes a sample out of test and never puts a
training sample in must answer for x as it does for the data set {x}, so by x alone; then class shares are
binomial. `stages/lib/shares.py` measures and bounds them.
Source of hashing for stable splits: Google Rules of ML #33; Géron, Hands-On Machine Learning, ch. 2.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stages.lib.components import components
from stages.lib.errors import InputError

TEST, VAL, TRAIN = 0, 1, 2
PLACES = ("test", "val", "train")
"""Names by code, in the order of the hash intervals."""

OFFICIAL_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "dev": VAL,
    "test": TEST,
    "testing": TEST,
}
"""Words that public data sets use for their splits."""

NO_HINT = -1


@dataclass(frozen=True)
class Placement:
    """Places of N samples, as codes of PLACES.

    unit (N,) int64: index of the unit; u (N,) float64 in [0, 1): the unit's draw; alone (N,) int8: where the
    sample would lie without company; place (N,) int8: where its unit lies; official (N,) bool: the place was
    prescribed.
    """

    unit: np.ndarray
    u: np.ndarray
    alone: np.ndarray
    place: np.ndarray
    official: np.ndarray


def place_samples(
    sample_ids: Sequence[str],
    near_groups: Sequence[str | None],
    user_groups: Sequence[str | None],
    hints: Sequence[str | None],
    salt: int,
    fractions: tuple[float, float],
) -> Placement:
    """Place every sample; `fractions` are those of test and val. InputError on an unknown official split."""
    unit = units_of(near_groups, user_groups)
    order, draw = _draws(sample_ids, user_groups, salt)
    hint = official_codes(sample_ids, hints)
    leader = _leaders(unit, order)
    u = draw[leader[unit]]
    place, official = _with_hints(_interval(u, fractions), unit, order, hint)
    return Placement(unit, u, _interval(draw, fractions), place, official)


def units_of(*groupings: Sequence[str | None]) -> np.ndarray:
    """Return (N,) int64, the unit of each sample, numbered by first appearance; None joins nothing."""
    pairs = (pair for grouping in groupings for pair in _to_first(grouping))
    return components(len(groupings[0]), pairs)


def _to_first(grouping: Sequence[str | None]) -> Iterator[tuple[int, int]]:
    """Yield each group as a star: every member with the group's first."""
    first: dict[str, int] = {}
    for position, group in enumerate(grouping):
        if group is not None:
            yield first.setdefault(group, position), position


def _draws(
    sample_ids: Sequence[str], user_groups: Sequence[str | None], salt: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rank (N,) uint64, which decides who leads a unit, and draw (N,) float64 in [0, 1).

    A user group draws as one, by its own name, so that it stays where it is while members join.
    """
    keys = [
        f"sample {sample_id}" if group is None else f"group {group}"
        for sample_id, group in zip(sample_ids, user_groups, strict=True)
    ]
    digests = {key: _digest(salt, key) for key in set(keys)}
    halves = np.frombuffer(b"".join(digests[key] for key in keys), dtype=">u8").reshape(-1, 2)
    # 53 bits: what a float64 holds exactly, so that the largest draw is still below 1.
    return halves[:, 0].astype(np.uint64), (halves[:, 1] >> 11).astype(np.float64) / 2.0**53


def _digest(salt: int, key: str) -> bytes:
    return hashlib.blake2b(f"{salt} {key}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _leaders(unit: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return (U,) int64: the position of each unit's member of lowest rank."""
    ranked = np.lexsort((order, unit))
    return ranked[np.searchsorted(unit[ranked], np.arange(unit.max(initial=-1) + 1))]


def _interval(u: np.ndarray, fractions: tuple[float, float]) -> np.ndarray:
    test, val = fractions
    return np.where(u < test, TEST, np.where(u < test + val, VAL, TRAIN)).astype(np.int8)


def official_codes(sample_ids: Sequence[str], hints: Iterable[str | None]) -> np.ndarray:
    """Return (N,) int8 codes of the official split, NO_HINT where none; InputError lists unknown words."""
    words = [None if hint is None else hint.strip().casefold() for hint in hints]
    unknown = [
        f"{sample_id}: {word!r}"
        for sample_id, word in zip(sample_ids, words, strict=True)
        if word is not None and word not in OFFICIAL_NAMES
    ]
    if unknown:
        shown = "\n  ".join(unknown[:20])
        raise InputError(
            f"manifest.parquet, column split_hint: {len(unknown)} rows name an unknown split; known are "
            f"{', '.join(OFFICIAL_NAMES)}. Mend the column or leave it out of `ingest.split`:\n  {shown}"
        )
    return np.array([NO_HINT if word is None else OFFICIAL_NAMES[word] for word in words], np.int8)


def _with_hints(
    place: np.ndarray, unit: np.ndarray, order: np.ndarray, hint: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Let the official split overrule the draw: (place, official).

    A unit's unhinted members follow its hinted member of lowest rank. An official split without a val part
    gets one out of its train part, by the draw. A unit whose hints differ is a leak that the data set's
    makers published: it is honoured, and `split` counts it (n_official_leaks).
    """
    hinted = hint != NO_HINT
    if not hinted.any():
        return place, hinted
    given = np.where(hinted, hint, place).astype(np.int8)
    if not (hint == VAL).any():
        given = np.where(hinted & (hint == TRAIN) & (place == VAL), VAL, given).astype(np.int8)
    ranked = np.where(hinted, order, np.iinfo(np.uint64).max)
    leader = _leaders(unit, ranked)
    follows = hinted[leader[unit]] & ~hinted
    return np.where(follows, given[leader[unit]], given).astype(np.int8), hinted[leader[unit]]


def straddling_units(unit: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the units (M,) int64 whose members lie in more than one place."""
    size = int(unit.max(initial=-1)) + 1
    low, high = np.full(size, len(PLACES), np.int8), np.full(size, -1, np.int8)
    np.minimum.at(low, unit, place)
    np.maximum.at(high, unit, place)
    return np.flatnonzero(low < high)
