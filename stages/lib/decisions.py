"""Decisions of people about single samples: data/review/decisions.csv, read strictly, all faults at once.

Decisions are ordered by their rows: the row is the sequence number. `when` is kept as it was written and
never compared, because clocks of several people differ in zone, run ahead, or are left out.
"""

import csv
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.lib.artifacts import read_csv
from stages.lib.errors import InputError

COLUMNS = ("sample_id", "decision", "label", "who", "when", "note")
DECISIONS = ("keep", "drop", "relabel", "neutral")
SHOWN = 50
"""More faults than this are counted, not listed: a screenful is enough to see what went wrong."""


@dataclass(frozen=True)
class Decision:
    """One row of decisions.csv; row is its line number, by which decisions are ordered."""

    row: int
    sample_id: str
    decision: str
    label: str | None
    who: str
    when: str
    note: str


def read_decisions(review: Path, given: Mapping[str, str | None], classes: Collection[str]) -> list[Decision]:
    """Return the decisions in row order, none where the file is absent; undecided rows are passed over.

    A row is undecided when both decision and label are empty, as in the review queue when it comes.
    `given` maps each sample_id to its label in the manifest; `classes` are the labels a person may choose.
    InputError lists every faulty row.
    """
    path = review / "decisions.csv"
    if not path.exists() and not path.is_symlink():
        return []
    decisions = [decision for decision in _read(path) if decision.decision or decision.label]
    faults = [
        f"row {decision.row}: {fault}"
        for decision in decisions
        if (fault := _fault(decision, given, classes))
    ]
    _refuse(path, faults)
    return decisions


def _refuse(path: Path, faults: list[str]) -> None:
    if faults:
        more = [f"… and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise InputError(f"{path}: {len(faults)} fault(s):\n  " + "\n  ".join(faults[:SHOWN] + more))


def _read(path: Path) -> list[Decision]:
    if not path.is_file():
        raise InputError(
            f"{path} is a folder or a link to nothing: put the table itself there, as {path.name}"
        )
    try:
        lines = _check_shape(path)
        rows = read_csv(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error}): save it as 'CSV UTF-8'") from error
    return [_decision(line, row) for line, row in zip(lines, rows, strict=True)]


def _check_shape(path: Path) -> list[int]:
    """Return the line on which each row ends; InputError on missing columns and on rows of another length."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        header = next(reader, [])
        rows = [(reader.line_num, row) for row in reader if row]
    _check_header(path, header)
    faults = [
        f"row {line}: {len(row)} cells where the header has {len(header)}; quote cells that contain commas"
        for line, row in rows
        if len(row) != len(header)
    ]
    _refuse(path, faults)
    return [line for line, _ in rows]


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if missing and len(header) == 1 and mark in header[0]:
            raise InputError(f"{path}: its columns are separated by {name}: save it with commas, in UTF-8")
    if missing:
        raise InputError(f"{path}: column(s) missing: {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise InputError(f"{path}: column(s) named twice: {', '.join(twice)}: keep one of each")


def _decision(line: int, row: Mapping[str, str]) -> Decision:
    # Spreadsheets put a byte order mark before the first column's name, and may quote it.
    cell = {name.removeprefix("\ufeff").strip('"'): value for name, value in row.items()}
    return Decision(
        row=line,
        sample_id=cell["sample_id"],
        decision=cell["decision"].strip().casefold(),
        label=cell["label"] or None,
        who=cell["who"],
        when=cell["when"],
        note=cell["note"],
    )


def _fault(decision: Decision, given: Mapping[str, str | None], classes: Collection[str]) -> str:
    if decision.sample_id not in given:
        return f"unknown sample_id {decision.sample_id!r}"
    if decision.decision not in DECISIONS:
        return f"unknown decision {decision.decision!r}; known: {', '.join(DECISIONS)}"
    label, was = decision.label, given[decision.sample_id]
    if decision.decision == "relabel":
        return _label_fault(label, classes)
    if label is not None and label != was:
        return f"{decision.decision!r} with label {label!r}, but it is {was!r}: leave it empty, or relabel"
    if decision.decision == "keep" and was is not None and was not in classes:
        return f"'keep', but its label {was!r} is one of ingest.neutral_labels: say relabel or neutral"
    return ""


def _label_fault(label: str | None, classes: Collection[str]) -> str:
    if label is None:
        return "'relabel' without a label"
    if label not in classes:
        shown = ", ".join(repr(name) for name in sorted(classes)[:20])
        return f"unknown label {label!r}; known: {shown}{' …' if len(classes) > 20 else ''}"
    return ""
