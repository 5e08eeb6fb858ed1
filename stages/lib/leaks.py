"""Leaks: evaluated samples with a copy or a group mate in another part, closest first, one row a reason.

Only an official split can have any; one made here has none by construction (`lib/binding.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from stages.lib.artifacts import read_csv, write_csv
from stages.lib.binding import group_codes
from stages.lib.duplicate_findings import FoundPair, exact_clusters

CROSSINGS = (("test", "train"), ("test", "val"), ("val", "train"))
"""(where the leaked sample is evaluated, where what it resembles was learned from or chosen on)."""


@dataclass(frozen=True)
class Leak:
    """One row; the fields are the columns of leaks.csv.

    reason: exact, near or judged where the two are a pair; chain where copies of copies join them; group
    where the user put them together. distance as in groups.parquet, None where the two are no pair.
    """

    sample_id: str
    split: str
    other_sample_id: str
    other_split: str
    reason: str
    distance: float | None


COLUMNS = tuple(field.name for field in fields(Leak))


def find_leaks(
    sample_ids: Sequence[str],
    names: np.ndarray,
    near: Sequence[str | None],
    group: Sequence[str | None],
    pairs: Sequence[FoundPair],
) -> list[Leak]:
    """Return all leaks, in the order of samples; names (N,) text is each sample's split."""
    known = _known_pairs(pairs, len(sample_ids))
    found = [
        *_of_grouping(sample_ids, names, near, known, "chain"),
        *_of_grouping(sample_ids, names, group, {}, "group"),
    ]
    return sorted(found, key=lambda leak: (leak.sample_id, leak.other_split, leak.reason))


def _known_pairs(pairs: Sequence[FoundPair], n: int) -> dict[int, list[tuple[float, int, str]]]:
    """Return for each sample its (distance, other, kind); exact copies are paired with all of their set."""
    known: dict[int, list[tuple[float, int, str]]] = {}
    for pair in pairs:
        for row, other in ((pair.left, pair.right), (pair.right, pair.left)):
            known.setdefault(row, []).append((1 - pair.score, other, pair.kind))
    for cluster in exact_clusters(pairs, n):
        for row in cluster:
            known[row] += [(0.0, other, "exact") for other in cluster if other != row]
    return known


def _of_grouping(
    sample_ids: Sequence[str],
    names: np.ndarray,
    grouping: Sequence[str | None],
    known: Mapping[int, list[tuple[float, int, str]]],
    otherwise: str,
) -> Iterator[Leak]:
    code = group_codes(grouping)
    for members in _crossing_groups(code, names):
        for split, other_split in CROSSINGS:
            others = sorted(members[names[members] == other_split].tolist(), key=sample_ids.__getitem__)
            for row in members[names[members] == split].tolist() if others else []:
                there = set(others)
                near = [item for item in known.get(row, []) if item[1] in there]
                if near:
                    distance, other, kind = min(near, key=lambda item: (item[0], sample_ids[item[1]]))
                    yield Leak(sample_ids[row], split, sample_ids[other], other_split, kind, distance)
                else:
                    yield Leak(sample_ids[row], split, sample_ids[others[0]], other_split, otherwise, None)


def _crossing_groups(code: np.ndarray, names: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the members (positions) of each group that lies in more than one part."""
    rows = np.flatnonzero((code >= 0) & np.isin(names, ("train", "val", "test")))
    rows = rows[np.argsort(code[rows], kind="stable")]
    for members in np.split(rows, np.flatnonzero(np.diff(code[rows])) + 1):
        if len(set(names[members].tolist())) > 1:
            yield members


def write_leaks(path: Path, leaks: Sequence[Leak]) -> None:
    """Write leaks.csv."""
    write_csv(path, COLUMNS, [astuple(leak) for leak in leaks])


def leaked_test_ids(path: Path) -> frozenset[str]:
    """Return the test samples of leaks.csv that have a copy or a group mate in train."""
    rows = read_csv(path)
    return frozenset(
        row["sample_id"] for row in rows if (row["split"], row["other_split"]) == ("test", "train")
    )
