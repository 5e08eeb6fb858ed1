"""Readers and writers of files that stages hand on: atomic, and the same bytes for the same values.

A reader never sees half a file: each is written beside its place, synced and renamed over it.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.lib.errors import naming_disk_faults

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that starts so is run by spreadsheets (OWASP, CSV injection)."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; when the block ends well, sync it and rename it to `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming_disk_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with Unix line ends."""
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys; NaN and infinity raise ValueError, because JSON has no word for them."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read one JSON value."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write RFC 4180 CSV; text that a spreadsheet would run as a formula is guarded by an apostrophe."""
    write_text(path, csv_text(header, rows))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return what `write_csv` writes."""
    buffer = io.StringIO(newline="")
    plain = csv.writer(buffer, lineterminator="\n")
    # The csv module of Python 3.11 leaves a lone carriage return bare, which a reader takes for a line's end.
    quoted = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(header)
    for row in rows:
        cells = [_cell(value) for value in row]
        (quoted if any(isinstance(cell, str) and "\r" in cell for cell in cells) else plain).writerow(cells)
    return buffer.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if isinstance(value, str) and value.lstrip("'").startswith(_FORMULA_STARTS):
        return "'" + value
    return "" if value is None else value


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read what `write_csv` wrote, all cells as text, the formula guard taken off."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: _unguarded(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _unguarded(text: str) -> str:
    guarded = text.startswith("'") and text.lstrip("'").startswith(_FORMULA_STARTS)
    return text[1:] if guarded else text


def write_table(path: Path, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a Parquet table."""
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=row_group_size)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet table, or only some of its columns."""
    # ParquetFile rather than read_table: the latter imports pandas, which half the stages do without.
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns) if columns is not None else None)


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write one numpy array; object arrays (which need pickle) raise ValueError."""
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_npy(path: Path, mmap: bool = False) -> np.ndarray:
    """Read one numpy array, into memory or mapped."""
    array: np.ndarray = np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    return array
