"""What is known of each test image besides its label, as values to slice by: faults, group, size, copies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.lib.artifacts import read_csv, read_table
from stages.lib.truth import Truth

THIRDS = ("small", "middle", "large")


def sample_facts(truth: Truth, rows: np.ndarray, ingest: Path, validate: Path) -> dict[str, list[str]]:
    """Return {attribute: a value for each of `rows` (M,) of the truth}; "" where a sample has none.

    class: its label; quality: each kind of fault that validate found is an attribute of its own; group: the
    user's; size: thirds by the shorter side of the original, where sides differ at all.
    """
    ids = [truth.sample_ids[row] for row in rows]
    manifest = read_table(ingest / "manifest.parquet")
    place = {name: row for row, name in enumerate(manifest["sample_id"].to_pylist())}
    kept = manifest.take([place[name] for name in ids])
    found = {"class": [truth.classes[truth.labels[row]] for row in rows]}
    found["group"] = [value or "" for value in kept["group"].to_pylist()]
    if {"width", "height"} <= set(kept.column_names):
        sides = np.minimum(kept["width"].to_numpy(), kept["height"].to_numpy())
        found["size"] = thirds(sides)
    return found | faults(ids, validate)


def thirds(sides: np.ndarray) -> list[str]:
    """Return which third each of sides (N,) is in; "" for all where the thirds would not differ."""
    first, second = np.quantile(sides, [1 / 3, 2 / 3])
    if first == second:
        return [""] * len(sides)
    return [THIRDS[int(side > first) + int(side > second)] for side in sides]


def faults(ids: Sequence[str], validate: Path) -> dict[str, list[str]]:
    """Return {"quality: <issue>": "yes" or "" for each sample} of every kind of faulty picture."""
    kinds: dict[str, set[str]] = {}
    for row in read_csv(validate / "image_issues.csv"):
        kinds.setdefault(row["issue"], set()).add(row["sample_id"])
    return {
        f"quality: {kind}": ["yes" if name in kinds[kind] else "" for name in ids] for kind in sorted(kinds)
    }
