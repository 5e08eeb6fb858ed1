"""Overrides of failed gates: data/review/overrides.csv, one recorded act a row, for the value that was seen.

An override is bound to the gate's value: when the value changes, somebody has to look, and decide, again.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stages.lib.artifacts import read_csv, write_csv
from stages.lib.errors import InputError

FILE = "overrides.csv"
COLUMNS = ("gate", "value", "reason", "by", "when")


@dataclass(frozen=True)
class Override:
    """Who lets a release pass although `gate` failed with `value`, and why."""

    gate: str
    value: str
    reason: str
    by: str
    when: str


def read_overrides(review: Path) -> list[Override]:
    """Return the overrides in row order, none where the file is absent; InputError lists faulty rows."""
    path = review / FILE
    if not path.exists():
        return []
    try:
        rows = read_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from error
    missing = [name for name in COLUMNS if rows and name not in rows[0]]
    if missing:
        raise InputError(f"{path}: column(s) missing: {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    faults = [
        f"row {number}: {name} is empty"
        for number, row in enumerate(rows, start=2)
        for name in ("gate", "value", "reason", "by")
        if not (row[name] or "").strip()
    ]
    if faults:
        raise InputError(f"{path}: {len(faults)} fault(s):\n  " + "\n  ".join(faults[:50]))
    return [Override(*(row[name] for name in COLUMNS)) for row in rows]


def write_overrides(review: Path, overrides: Iterable[Override]) -> None:
    """Write all of them."""
    rows = [(item.gate, item.value, item.reason, item.by, item.when) for item in overrides]
    write_csv(review / FILE, COLUMNS, rows)
