"""What people wrote into data/review: strict CSV with named columns, every faulty row listed at once."""

import csv
from collections.abc import Sequence
from pathlib import Path

from stages.lib.artifacts import read_csv
from stages.lib.errors import InputError

SHOWN = 50
"""More faults than this are counted, not listed: a screenful is enough to see what went wrong."""


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, cells by column) of each row, none where the file is absent.

    Other columns than `columns` may be there too. InputError on missing columns, on rows of another length
    and on what is no CSV in UTF-8.
    """
    if not path.exists() and not path.is_symlink():
        return []
    if not path.is_file():
        raise InputError(
            f"{path} is a folder or a link to nothing: put the table itself there, as {path.name}"
        )
    try:
        lines = _check_shape(path, columns)
        rows = [_cells(row) for row in read_csv(path)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error}): save it as 'CSV UTF-8'") from error
    return list(zip(lines, rows, strict=True))


def refuse(path: Path, faults: Sequence[str]) -> None:
    """Raise InputError listing the faults, if there are any."""
    if faults:
        more = [f"… and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise InputError(f"{path}: {len(faults)} fault(s):\n  " + "\n  ".join([*faults[:SHOWN], *more]))


def _check_shape(path: Path, columns: Sequence[str]) -> list[int]:
    """Return the line on which each row ends; InputError on missing columns and on rows of another length."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        rows = [(reader.line_num, row) for row in reader if row]
    _check_header(path, header, columns)
    faults = [
        f"row {line}: {len(row)} cells where the header has {len(header)}; quote cells that contain commas"
        for line, row in rows
        if len(row) != len(header)
    ]
    refuse(path, faults)
    return [line for line, _ in rows]


def _check_header(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in header]
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if missing and len(header) == 1 and mark in header[0]:
            raise InputError(f"{path}: its columns are separated by {name}: save it with commas, in UTF-8")
    if missing:
        raise InputError(f"{path}: column(s) missing: {', '.join(missing)}; expected {', '.join(columns)}")
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise InputError(f"{path}: column(s) named twice: {', '.join(twice)}: keep one of each")


def _cells(row: dict[str, str]) -> dict[str, str]:
    # Spreadsheets put a byte order mark before the first column's name, and may quote it.
    return {name.removeprefix("\ufeff").strip('"'): value for name, value in row.items()}
