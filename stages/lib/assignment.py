"""Where a sample belongs by itself, test, val or train: a pure function of its id or group, and the salt.

A sample that the user put into a group draws by the group's name, any other by its own id: `u <
test_fraction` is test, then val, then train. Neither labels nor other samples play a part, nor what the
detectors find, so growth moves nothing here. What must not be parted is settled afterwards, by leaving
samples out and never by changing sides (`lib/binding.py`).

Why no rule that looks at the whole: let x be a train sample of data set A and a test sample of data set B.
When both grow into A and B together, x either leaves test or moves from train to test. So a rule that keeps
both promises and remembers nothing must place x by x alone; class shares are then binomial.
`stages/lib/shares.py` measures and bounds them where it may.
Source of hashing for stable splits: Google Rules of ML #33; Géron, Hands-On Machine Learning, ch. 2.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

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
    """Where N samples lie by themselves, as codes of PLACES.

    u (N,) float64 in [0, 1): the draw; rank (N,) uint64: who leads among copies, independent of u; place (N,)
    int8; official (N,) bool: the place was prescribed; lent (N,) bool: official train samples that serve as
    val, because the official split has none.
    """

    u: np.ndarray
    rank: np.ndarray
    place: np.ndarray
    official: np.ndarray
    lent: np.ndarray


def place_samples(
    sample_ids: Sequence[str],
    user_groups: Sequence[str | None],
    hints: Sequence[str | None],
    salt: int,
    fractions: tuple[float, float],
) -> Placement:
    """Place every sample; `fractions` are those of test and val. InputError on an unknown official split."""
    rank, u = _draws(sample_ids, user_groups, salt)
    hint = official_codes(sample_ids, hints)
    drawn = _interval(u, fractions)
    official = hint != NO_HINT
    lent = (hint == TRAIN) & (drawn == VAL) & (not (hint == VAL).any())
    place = np.where(official & ~lent, hint, drawn).astype(np.int8)
    return Placement(u, rank, place, official, lent)


def _draws(
    sample_ids: Sequence[str], user_groups: Sequence[str | None], salt: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rank (N,) uint64, which decides who leads among copies, and draw (N,) float64 in [0, 1).

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
