"""The table of answers under changed pictures, and what they are worth: accuracy by kind and strength."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.lib.artifacts import read_table, write_table
from stages.lib.intervals import accuracy_interval
from stages.lib.truth import Truth

FILE = "robustness.parquet"
COLUMNS = ("kind", "strength", "top1_accuracy", "ci_low", "ci_high", "n")


def write_answers(path: Path, sample_ids: list[str], said: Mapping[tuple[str, float], np.ndarray]) -> None:
    """Write the class position that the ensemble named for each sample under each change."""
    columns = {
        "sample_id": pa.array([name for _ in said for name in sample_ids], pa.string()),
        "kind": pa.array([kind for kind, _ in said for _ in sample_ids], pa.string()),
        "strength": pa.array([strength for _, strength in said for _ in sample_ids], pa.float64()),
        "predicted": pa.array([int(value) for values in said.values() for value in values], pa.int32()),
    }
    write_table(path, pa.table(columns))


def robustness_rows(path: Path, truth: Truth, confidence: float) -> list[tuple[Any, ...]]:
    """Return rows of COLUMNS, one a change, in the file's order; samples are those of test in the file."""
    table = read_table(path)
    place = {name: row for row, name in enumerate(truth.sample_ids)}
    rows = np.array([place[name] for name in table["sample_id"].to_pylist()], dtype=np.int64)
    right = table["predicted"].to_numpy() == truth.labels[rows]
    kinds, strengths = table["kind"].to_pylist(), table["strength"].to_pylist()
    changes: dict[tuple[str, float], list[int]] = {}
    for row, change in enumerate(zip(kinds, strengths, strict=True)):
        changes.setdefault(change, []).append(row)
    found = []
    for (kind, strength), held in changes.items():
        groups = np.unique(truth.groups[rows[held]], return_inverse=True)[1]
        interval = accuracy_interval(right[held], groups, confidence)
        found.append((kind, strength, float(right[held].mean()), *interval, len(held)))
    return found


def worst_by_kind(rows: Sequence[tuple[Any, ...]]) -> dict[str, float]:
    """Return the lowest accuracy of each kind of change, for metrics.json."""
    found: dict[str, float] = {}
    for kind, _, accuracy, *_ in rows:
        found[kind] = min(found.get(kind, 1.0), accuracy)
    return found
