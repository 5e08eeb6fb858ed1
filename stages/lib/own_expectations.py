"""Expectations that users add in data/review/expectations.yaml over the curated table, without touching code.

A list of entries {name, type, kwargs, severity, remedy}; type and kwargs as in Great Expectations' gallery
(ExpectColumnValuesToBeBetween, {column: width, min_value: 32}). The file may be absent. Every fault of it
(YAML, keys, a name that stands twice, an unknown type or column, arguments that the type refuses) is told
in one error with its entry. SQL and row conditions are refused: they are programs, and the file is data.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from stages.lib.config import Section, parse_section
from stages.lib.errors import InputError
from stages.lib.expectations import Check, Severity, expectation_types, refusals
from stages.lib.near_words import nearest
from stages.lib.yaml_file import read_yaml

FILE = "expectations.yaml"
COLUMN_KEYS = ("column", "column_A", "column_B", "column_list")
REFUSED_TYPES = ("ExpectQueryResultsToMatchComparison", "ExpectTableRowCountToEqualOtherTable")
REFUSED_KEYS = (
    "batch_id",
    "catch_exceptions",
    "condition_parser",
    "description",
    "id",
    "meta",
    "notes",
    "result_format",
    "row_condition",
    "severity",
    "unexpected_rows_query",
    "windows",
)
"""Arguments of Great Expectations' own bookkeeping, and those that are run as code."""


class Entry(Section):
    """One entry of the file."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,79}$")]
    type: str
    kwargs: dict[str, Any]
    severity: Severity
    remedy: Annotated[str, Field(min_length=1, max_length=500)]


def read_own_checks(review: Path, columns: Sequence[str], taken: Collection[str]) -> list[Check]:
    """Return the user's checks of a table with these columns, none where the file is absent.

    `taken` are the names of the built-in checks. InputError lists every fault.
    """
    path = review / FILE
    if not path.exists():
        return []
    raw = read_yaml(path)
    if not isinstance(raw, list) or not raw:
        raise InputError(
            f"{path}: expected a list of entries that begin with '- name: …', or no file at all; "
            f"found {'nothing' if raw is None or raw == [] else type(raw).__name__}"
        )
    parsed = [
        parse_section(Entry, _place(number, item), {_place(number, item): item})
        for number, item in _numbered(raw)
    ]
    faults = [fault.strip() for _, found in parsed for fault in found]
    named = [(_place(number, raw[number - 1]), entry) for number, (entry, _) in _numbered(parsed) if entry]
    faults += list(_repeated(named, taken))
    for place, entry in named:
        faults += [f"{place}: {fault}" for fault in _misfits(entry, columns)]
    if faults:
        raise InputError(f"{path}: {len(faults)} fault(s):\n  " + "\n  ".join(faults))
    return [
        Check(entry.name, entry.type, entry.kwargs, entry.severity, entry.remedy, origin=f"{path}, {place}")
        for place, entry in named
    ]


def _numbered(items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    return enumerate(items, start=1)


def _place(number: int, item: object) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    return f"entry {number} ({name})" if isinstance(name, str) else f"entry {number}"


def _repeated(named: Sequence[tuple[str, Entry]], taken: Collection[str]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for place, entry in named:
        if entry.name in taken:
            yield f"{place}: this name belongs to a built-in expectation: choose another"
        elif entry.name in seen:
            yield f"{place}: the name stands twice, first in {seen[entry.name]}"
        seen.setdefault(entry.name, place)


def _misfits(entry: Entry, columns: Sequence[str]) -> list[str]:
    """Say what is wrong with a well-formed entry: type, columns, then arguments."""
    types = [name for name in expectation_types() if name not in REFUSED_TYPES]
    if entry.type not in types:
        close = nearest(entry.type, types)
        return [f"unknown expectation {entry.type!r}{close if 'did you mean' in close else ''}"]
    refused = [f"kwargs.{key}: not taken here" for key in entry.kwargs if key in REFUSED_KEYS]
    if refused:
        return refused
    named = [(key, entry.kwargs[key]) for key in COLUMN_KEYS if key in entry.kwargs]
    asked = [(key, name) for key, value in named for name in (value if isinstance(value, list) else [value])]
    unknown = [
        f"kwargs.{key}: the table has no column {name!r}{nearest(str(name), list(columns))}"
        for key, name in asked
        if name not in columns and entry.type != "ExpectColumnToExist"
    ]
    return unknown or refusals(entry.type, entry.kwargs)
