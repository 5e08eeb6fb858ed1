"""The text columns of a user's table, as they stand there, with the number of each row in its file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.lib.errors import InputError
from stages.lib.near_words import nearest

CHUNK = 65_536


@dataclass(frozen=True)
class TextTable:
    """Columns of text (N rows each, null where the cell is empty) by name.

    numbers (N,) int64: a CSV row is named by the line it begins in (the header is 1), a Parquet row by its
    position from 1.
    """

    name: str
    columns: Mapping[str, pa.ChunkedArray]
    numbers: np.ndarray

    def rows(self, names: Sequence[str]) -> Iterator[tuple[int, tuple[str | None, ...]]]:
        """Yield each row's number and its cells of these columns."""
        for start in range(0, len(self.numbers), CHUNK):
            parts = [self.columns[name].slice(start, CHUNK).to_pylist() for name in names]
            numbers = self.numbers[start : start + CHUNK].tolist()
            cells = zip(*parts, strict=True) if names else iter([()] * len(numbers))
            yield from zip(numbers, cells, strict=True)

    def values(self, name: str) -> dict[str, int]:
        """Count the different texts of a column."""
        counted = pc.value_counts(self.columns[name].drop_null())
        texts, counts = counted.flatten()
        return dict(zip(texts.to_pylist(), counts.to_pylist(), strict=True))

    def rows_of(self, name: str, texts: set[str]) -> Iterator[tuple[int, str]]:
        """Yield number and text of the rows whose cell is one of `texts`, in order."""
        if texts:
            yield from ((row, cell) for row, (cell,) in self.rows([name]) if cell in texts)


def blank_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column with null where a cell holds nothing but white space; other text stays as it is."""
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, pa.string()), column)


def repeated(column: pa.ChunkedArray) -> set[str]:
    """Return the texts that stand in more than one row."""
    counted = pc.value_counts(column.drop_null())
    texts, counts = counted.flatten()
    return set(texts.filter(pc.greater(counts, 1)).to_pylist())


def check_header(table: str, header: Sequence[str], wanted: Sequence[tuple[str, str]]) -> None:
    """Check that every wanted (param, column) stands exactly once in the header; InputError says what does.

    A CSV file with another delimiter than the comma is told by its one-column header.
    """
    faults = [
        f"  {key}: no column {column!r}{nearest(column, list(header))}"
        for key, column in wanted
        if column not in header
    ]
    twice = sorted({name for name in header if header.count(name) > 1})
    faults += [f"  column {name!r} stands there twice: rename one" for name in twice]
    faults += ["  a column has no name: name or remove it"] if "" in header else []
    if not faults:
        return
    needed = ", ".join(repr(column) for _, column in wanted)
    delimiter = next((f"{mark!r}" for mark in (";", "\t", "|") if len(header) == 1 and mark in header[0]), "")
    hint = f"\nIts cells are separated by {delimiter}: save it with commas" if delimiter else ""
    seen = ", ".join(repr(name) for name in header[:20])
    raise InputError(
        f"{table}, header (row 1): expected the columns {needed}; found {seen}\n" + "\n".join(faults) + hint
    )
