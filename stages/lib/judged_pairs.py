"""What people say of pairs: data/review/pairs.csv, two samples that are the same shot, or are not.

A detector misses copies and takes look-alikes for copies; whoever has looked knows better. `same` binds two
samples as if they had been found, `different` takes back a find. Rows are read strictly, all faults at once;
of two rows on one pair the later one counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.components import components
from stages.lib.review_file import read_rows, refuse

COLUMNS = ("sample_id_a", "sample_id_b", "judgment", "who", "when", "note")
JUDGMENTS = ("same", "different")

Positions = tuple[int, int]


@dataclass(frozen=True)
class Judgments:
    """Pairs of positions, the smaller sample_id first, in the order of sample_ids."""

    same: tuple[Positions, ...]
    different: tuple[Positions, ...]


@dataclass(frozen=True)
class _Row:
    line: int
    pair: Positions
    judgment: str


def read_judgments(review: Path, sample_ids: Sequence[str], pixels: np.ndarray) -> Judgments:
    """Return what pairs.csv says, nothing where it is absent; pixels (N, H, W, C) uint8.

    InputError lists every faulty row: unknown samples, a sample paired with itself, unknown judgments, and
    pairs called different that hold equal pixels or that other rows make the same.
    """
    path = review / "pairs.csv"
    rows = read_rows(path, COLUMNS)
    position = {sample_id: index for index, sample_id in enumerate(sample_ids)}
    faults = [f"row {line}: {fault}" for line, cell in rows if (fault := _fault(cell, position, pixels))]
    refuse(path, faults)
    last = {row.pair: row for line, cell in rows for row in [_row(line, cell, position)]}
    refuse(path, _contradictions(list(last.values()), len(sample_ids)))
    ordered = sorted(last, key=lambda pair: (sample_ids[pair[0]], sample_ids[pair[1]]))
    return Judgments(
        tuple(pair for pair in ordered if last[pair].judgment == "same"),
        tuple(pair for pair in ordered if last[pair].judgment == "different"),
    )


def _fault(cell: Mapping[str, str], position: Mapping[str, int], pixels: np.ndarray) -> str:
    names = (cell["sample_id_a"], cell["sample_id_b"])
    unknown = [repr(name) for name in names if name not in position]
    if unknown:
        return f"unknown sample_id {' and '.join(unknown)}"
    if names[0] == names[1]:
        return f"{names[0]!r} is paired with itself"
    judgment = _judgment(cell)
    if judgment not in JUDGMENTS:
        return f"unknown judgment {judgment!r}; known: {', '.join(JUDGMENTS)}"
    if judgment == "different" and np.array_equal(pixels[position[names[0]]], pixels[position[names[1]]]):
        return f"{names[0]!r} and {names[1]!r} hold the same pixels: they cannot be 'different'"
    return ""


def _judgment(cell: Mapping[str, str]) -> str:
    return cell["judgment"].strip().casefold()


def _row(line: int, cell: Mapping[str, str], position: Mapping[str, int]) -> _Row:
    first, second = sorted((cell["sample_id_a"], cell["sample_id_b"]))
    return _Row(line, (position[first], position[second]), _judgment(cell))


def _contradictions(rows: Sequence[_Row], n: int) -> list[str]:
    apart = [row for row in rows if row.judgment == "different"]
    if not apart:
        return []
    shot = components(n, (row.pair for row in rows if row.judgment == "same"))
    return [
        f"row {row.line}: 'different', but rows that say 'same' join the two through others"
        for row in apart
        if shot[row.pair[0]] == shot[row.pair[1]]
    ]
