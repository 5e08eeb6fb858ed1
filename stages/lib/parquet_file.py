"""Read a user's Parquet table: text columns by declared rule, image bytes as a stream.

Text rule: text stays as it is; whole numbers become their decimal digits, truth values `true` and `false`;
a column that Hugging Face's metadata calls a ClassLabel becomes its class names. Decimal numbers and lists
are no labels, ids or groups: how they would be written as text is not defined, so they are refused.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.lib.errors import InputError
from stages.lib.row_faults import RowFaults
from stages.lib.text_table import TextTable, blank_to_null, check_header

MAGIC = b"PAR1"
IMAGES_AT_ONCE = 32
MOST_AT_ONCE = 4096
BYTES_AT_ONCE = 2**22
"""Cells read in one step: as many as hold about BYTES_AT_ONCE, but at least IMAGES_AT_ONCE, so that
photographs of 10 MB stay under 320 MB and small images are not read one by one."""


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a table; InputError where its bytes are damaged."""
    try:
        # Buffered and not read ahead: a column chunk of a whole file is not held in memory.
        with pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error


def _damaged(path: Path, said: str) -> InputError:
    return InputError(f"{path.name}: damaged Parquet file ({said}): copy it or write it again")


def read_parquet_table(path: Path, wanted: Sequence[tuple[str, str]], image: str) -> TextTable:
    """Read the wanted (param, column) as text; `image` names the column that must be there, or is empty."""
    with opened(path) as file:
        schema = file.schema_arrow
        check_header(path.name, schema.names, [*wanted, *([("ingest.image", image)] if image else [])])
        n_rows = file.metadata.num_rows
        if not n_rows:
            raise InputError(f"{path.name}: no rows")
        columns = {}
        for key, name in wanted:
            columns[name] = _text(file, name, key, path.name)
            if len(columns[name]) != n_rows:
                raise _damaged(path, f"column {name!r} does not have {n_rows} rows")
    return TextTable(path.name, columns, np.arange(1, n_rows + 1, dtype=np.int64))


def _text(file: pq.ParquetFile, name: str, key: str, table: str) -> pa.ChunkedArray:
    column = file.read(columns=[name])[name]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_integer(kind):
        names = _class_names(file.schema_arrow, name)
        column = column.cast(kind)
        text = column.cast(pa.string()) if names is None else _named(column, names, name, table)
    elif key == "ingest.human_counts" and pa.types.is_list(kind) and pa.types.is_integer(kind.value_type):
        cells = (None if cell is None else json.dumps(cell) for cell in column.to_pylist())
        text = pa.chunked_array([pa.array(cells, pa.string())])
    elif _is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        text = column.cast(pa.string())
    else:
        code = "label_type" if key in ("ingest.label", "ingest.annotators") else "column_type"
        raise InputError(
            f"{table}: {code}: {key}: column {name!r} holds {column.type}; expected text or whole numbers: "
            "write it as text (in pandas: astype(str), or Int64 where numbers are missing)"
        )
    text.validate(full=True)
    return blank_to_null(text)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the names that a Hugging Face ClassLabel gives to 0, 1, …, or None where there are none."""
    try:
        value: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    except ValueError:
        return None
    for key in ("info", "features", column):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, dict) or value.get("_type") != "ClassLabel":
        return None
    names = value.get("names")
    is_list = isinstance(names, list) and all(isinstance(name, str) and name for name in names)
    return names if is_list else None


def _named(codes: pa.ChunkedArray, names: list[str], column: str, table: str) -> pa.ChunkedArray:
    """Put class names for codes; -1 is Hugging Face's word for no label."""
    faults = RowFaults(table)
    known = pc.if_else(pc.equal(codes, -1), None, codes)
    outside = pc.or_(pc.less(known, 0), pc.greater_equal(known, len(names)))
    for position in np.flatnonzero(pc.fill_null(outside, False).to_numpy()).tolist():
        detail = f"column {column!r} is {codes[position]}, its metadata name 0 … {len(names) - 1}"
        faults.add(position + 1, "label_type", detail)
    faults.stop()
    return pa.chunked_array([pc.take(pa.array(names, pa.string()), chunk) for chunk in known.chunks])


def holds_bytes(path: Path, column: str) -> bool:
    """Tell whether a column holds encoded images (bytes, struct<bytes, path>) or paths; else InputError."""
    with opened(path) as file:
        schema = file.schema_arrow
        check_header(path.name, schema.names, [("ingest.image", column)])
        kind = schema.field(column).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return True
    if _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        return False
    raise InputError(
        f"{path.name}: ingest.image: column {column!r} holds {kind}; expected encoded image files as bytes, "
        "struct<bytes, path> as Hugging Face writes it, or paths"
    )


def _images_at_once(file: pq.ParquetFile, column: str) -> int:
    """Choose how many cells to read in one step, by the row group whose cells are largest on average."""
    largest = 1
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        parts = (group.column(position) for position in range(group.num_columns))
        size = sum(part.total_uncompressed_size for part in parts if _is_in(part.path_in_schema, column))
        largest = max(largest, size // max(1, group.num_rows))
    return max(IMAGES_AT_ONCE, min(MOST_AT_ONCE, BYTES_AT_ONCE // largest))


def _is_in(path: str, column: str) -> bool:
    return path == column or path.startswith(f"{column}.")


def stream_images(path: Path, column: str, n_rows: int) -> Iterator[bytes | None]:
    """Yield the encoded image of each of n_rows rows, None where there is none."""
    n_read = 0
    with opened(path) as file:
        for batch in file.iter_batches(_images_at_once(file, column), columns=[column]):
            n_read += len(batch)
            if n_read > n_rows:
                break
            cells = batch.column(0)
            if pa.types.is_struct(cells.type):
                cells = cells.flatten()[cells.type.get_field_index("bytes")]
            yield from cells.to_pylist() if batch.nbytes < BYTES_AT_ONCE else (cell.as_py() for cell in cells)
    if n_read != n_rows:
        raise _damaged(path, f"column {column!r} does not have {n_rows} rows")
