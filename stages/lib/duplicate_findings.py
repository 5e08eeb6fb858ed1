"""Read what `duplicates` wrote, joined to the manifest's order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.artifacts import read_csv, read_table
from stages.lib.components import components
from stages.lib.errors import InputError

LOOK_ALIKE = "look_alike"
"""Kind of the pairs that the pixels did not confirm: for people to judge, read by no stage."""


@dataclass(frozen=True)
class FoundPair:
    """Two samples (positions in the manifest) that show the same; kind is `exact`, `judged` or `near`."""

    left: int
    right: int
    score: float
    kind: str


def near_groups(duplicates: Path, sample_ids: Sequence[str]) -> list[str | None]:
    """Return each sample's near-duplicate group (exact copies included), None where it has no copy."""
    table = read_table(duplicates / "groups.parquet", ["sample_id", "group_id"]).to_pydict()
    group = dict(zip(table["sample_id"], table["group_id"], strict=True))
    return [group.get(sample_id) for sample_id in sample_ids]


def near_distances(duplicates: Path, sample_ids: Sequence[str]) -> np.ndarray:
    """Return (N,) float64: distance to the nearest member of the sample's group, NaN where it has none."""
    table = read_table(duplicates / "groups.parquet", ["sample_id", "distance"]).to_pydict()
    distance = dict(zip(table["sample_id"], table["distance"], strict=True))
    return np.array([distance.get(sample_id, np.nan) for sample_id in sample_ids], np.float64)


def read_copies(path: Path) -> list[dict[str, str]]:
    """Read the rows of pairs.csv or conflicts.csv, without look-alikes."""
    return [row for row in read_csv(path) if row["kind"] != LOOK_ALIKE]


def read_pairs(path: Path, sample_ids: Sequence[str]) -> list[FoundPair]:
    """Read the copies of pairs.csv or conflicts.csv; InputError where one names an unknown sample."""
    position = {sample_id: row for row, sample_id in enumerate(sample_ids)}
    rows = read_copies(path)
    strange = [row for row in rows if not {row["sample_id_a"], row["sample_id_b"]} <= position.keys()]
    if strange:
        raise InputError(f"{path}: {len(strange)} pairs name samples the manifest lacks: run `dvc repro`")
    return [
        FoundPair(
            position[row["sample_id_a"]], position[row["sample_id_b"]], float(row["score"]), row["kind"]
        )
        for row in rows
    ]


def exact_clusters(pairs: Sequence[FoundPair], n: int) -> Iterator[list[int]]:
    """Yield positions (≥ 2, ascending) of samples that are exact copies of each other, of n samples."""
    exact = [(pair.left, pair.right) for pair in pairs if pair.kind == "exact"]
    clusters: dict[int, list[int]] = {}
    if exact:
        index = components(n, exact)
        for node in sorted({node for pair in exact for node in pair}):
            clusters.setdefault(int(index[node]), []).append(node)
    yield from clusters.values()
