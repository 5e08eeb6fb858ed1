"""A strict CSV reader: UTF-8, commas, every row as wide as the header, every cell kept as text.

Nothing is guessed: a sniffed delimiter or encoding, a cell read as a number or as NaN, or a row padded or cut
to fit would change labels without a word (pandas does all of these by default). Format: RFC 4180, with \\n,
\\r\\n or \\r between rows, and a byte order mark allowed.
"""

import codecs
import csv
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.lib.errors import InputError
from stages.lib.row_faults import RowFaults
from stages.lib.text_table import CHUNK, TextTable, blank_to_null, check_header

_BLOCK = 2**20
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_SAVE = "save the table as UTF-8"


def read_csv_table(path: Path, wanted: Sequence[tuple[str, str]]) -> TextTable:
    """Read the wanted (param, column) of a CSV file; InputError names byte, row or column of a fault."""
    check_text(path)
    faults = RowFaults(path.name)
    with path.open(encoding="utf-8-sig", newline="") as file:
        records = _records(file, path.name)
        _, header = next(records, (1, []))
        if not header:
            raise InputError(f"{path.name}: the file is empty: the first row must name the columns")
        check_header(path.name, header, wanted)
        names = list(dict.fromkeys(column for _, column in wanted))
        table = _collect(records, header, names, faults)
    faults.stop()
    if not len(table.numbers):
        raise InputError(f"{path.name}: only a header, no rows")
    return table


def check_text(path: Path) -> None:
    """Check that the bytes are UTF-8 without NUL; InputError gives the offset of the first that is not."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, row = 0, 1
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            _check_marks(path.name, block, offset)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                raise _not_utf8(path.name, block, error.start - pending, offset, row) from error
            offset += len(block)
            row += block.count(b"\n")
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise InputError(f"{path.name}: the file ends inside a character: copy it again") from error


def _check_marks(name: str, block: bytes, offset: int) -> None:
    encoding = next((text for mark, text in _MARKS.items() if not offset and block.startswith(mark)), "")
    if encoding:
        raise InputError(f"{name}: byte 0: this is {encoding} text: {_SAVE}")
    found = block.find(b"\0")
    if found < 0:
        return
    kind = "as in UTF-16 text without its mark" if block.count(b"\0") * 3 > len(block) else "no text holds it"
    raise InputError(f"{name}: byte {offset + found} is NUL ({kind}): {_SAVE}")


def _not_utf8(name: str, block: bytes, start: int, offset: int, row: int) -> InputError:
    at = max(0, start)
    shown = bytes([block[at]]).decode("cp1252", "replace")
    row += block[:at].count(b"\n")
    return InputError(
        f"{name}: byte {offset + start} (row {row}) is not UTF-8; detected encoding: probably Latin-1 or "
        f"Windows-1252, where it reads {shown!r}: {_SAVE}"
    )


def _records(lines: Iterator[str], name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line it begins in; blank lines are passed over."""
    reader = csv.reader(lines, strict=True)
    while True:
        row = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{name}: row {row}: {error}; look for a quote in this row that is not closed, or not doubled"
            ) from error
        if record:
            yield row, record


def _collect(
    records: Iterator[tuple[int, list[str]]], header: list[str], names: list[str], faults: RowFaults
) -> TextTable:
    places = [header.index(name) for name in names]
    chunks: dict[str, list[pa.Array]] = {name: [] for name in names}
    waiting: list[list[str]] = [[] for _ in names]
    numbers = []
    for n_read, (row, record) in zip(count(1), records):
        if len(record) != len(header):
            faults.add(row, "field_count", f"{len(record)} cells, the header has {len(header)}")
            continue
        numbers.append(row)
        for cells, place in zip(waiting, places, strict=True):
            cells.append(record[place])
        if n_read % CHUNK == 0:
            _flush(chunks, waiting)
    _flush(chunks, waiting)
    columns = {name: blank_to_null(pa.chunked_array(parts, pa.string())) for name, parts in chunks.items()}
    return TextTable(faults.table, columns, np.array(numbers, np.int64))


def _flush(chunks: dict[str, list[pa.Array]], waiting: list[list[str]]) -> None:
    for parts, cells in zip(chunks.values(), waiting, strict=True):
        parts.append(pa.array(cells, pa.string()))
        cells.clear()
