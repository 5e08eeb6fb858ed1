"""Votes of many people as numbers: a column that lists, for each image, how often each class was named.

A cell is a JSON list such as [0, 1, 49] (in Parquet also a list column), one number a class, in the order of
`ingest.classes`, or of the labels' names where that is empty. The order travels in the manifest's metadata.
"""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from stages.lib.errors import InputError
from stages.lib.row_faults import RowFaults, short
from stages.lib.text_table import TextTable

COLUMN = "human_counts"
"""The manifest's column, list<int32> or null."""

MOST_VOTES = 1_000_000
"""In one cell; more is another kind of number."""

_KEY = b"human_counts_classes"


def parse(text: str) -> list[int] | None:
    """Return the numbers of a cell, None where it is no list of whole numbers from 0 on."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    good = isinstance(value, list) and all(type(n) is int and 0 <= n <= MOST_VOTES for n in value)
    return value if good else None


def check(table: TextTable, column: str, faults: RowFaults) -> None:
    """Look for cells that are no list of counts, or of another length than the first."""
    length = None
    for row, (cell,) in table.rows([column]):
        if cell is None:
            continue
        counts = parse(cell)
        if counts is None:
            faults.add(row, "counts_type", f"{short(cell)} in column {column!r}: expected such as [0, 1, 49]")
        elif length is not None and len(counts) != length:
            detail = f"column {column!r} has {len(counts)} numbers, the first row that has any {length}"
            faults.add(row, "counts_length", detail)
        length = len(counts) if length is None and counts is not None else length


def with_order(manifest: pa.Table, classes: Sequence[str]) -> pa.Table:
    """Note the class order: `classes`, or the labels by name; InputError where lists have another length."""
    if COLUMN not in manifest.column_names:
        return manifest
    order = list(classes) or sorted(set(manifest["label"].drop_null().to_pylist()))
    lengths = {len(counts) for counts in manifest[COLUMN].drop_null().to_pylist()}
    if lengths - {len(order)}:
        raise InputError(
            f"ingest.human_counts: its lists have {lengths.pop()} numbers, there are {len(order)} classes: "
            "name all classes in ingest.classes, in the order of the numbers"
        )
    known = dict(manifest.schema.metadata or {})
    return manifest.replace_schema_metadata(known | {_KEY: json.dumps(order, ensure_ascii=False).encode()})


def counts_of(manifest: pa.Table, classes: Sequence[str]) -> np.ndarray:
    """Return the votes (N, K) int64 for `classes`, 0 where there are none; votes for others do not count."""
    counts = np.zeros((manifest.num_rows, len(classes)), np.int64)
    if COLUMN not in manifest.column_names:
        return counts
    order = json.loads((manifest.schema.metadata or {}).get(_KEY, b"[]"))
    target = {name: position for position, name in enumerate(classes)}
    places = [(source, target[name]) for source, name in enumerate(order) if name in target]
    for row, cell in enumerate(manifest[COLUMN].to_pylist()):
        if cell is not None:
            for source, place in places:
                counts[row, place] = cell[source]
    return counts
