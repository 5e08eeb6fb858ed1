"""From the text columns of a user's table to what is known of each row, after every fault was looked for.

Faults that make rows ambiguous or dangerous (a path that leaves the folder, a repeated id, two labels in a
cell) stop the run before an image is opened, all in one message. Gaps (an empty label, a missing file) are
one row's own matter: see `table_source`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from stages.lib import human_counts
from stages.lib.assignment import OFFICIAL_NAMES, PLACES
from stages.lib.config import Section
from stages.lib.consensus import plurality
from stages.lib.errors import InputError
from stages.lib.intake import ANNOTATOR_PREFIX, Facts
from stages.lib.row_faults import RowFaults, short
from stages.lib.safe_path import leaves_root, plain
from stages.lib.text_table import CHUNK, TextTable, repeated

PATH = ""
"""The column of image paths that is built here; no column of a table has an empty name."""

_FIELD = re.compile(r"\{([^{}]+)\}")
_BETWEEN_LABELS = (";", "|", ",")
FROM_ANNOTATORS = "label_from_annotators"


class TableParams(Section):
    """The keys of `ingest` that say which column is what; an empty text or list is not used."""

    image: str
    label: str
    id: str
    annotators: tuple[str, ...]
    human_counts: str
    group: str
    split: str
    missing_label: Literal["unlabelled", "quarantine"]
    unmatched: Literal["quarantine", "error"]


ONE_COLUMN = ("label", "id", "group", "split", "human_counts")
"""The keys that name one text column each."""


def text_columns(params: TableParams) -> list[tuple[str, str]]:
    """Return (param, column) of every column that the params name, images aside."""
    single = [(f"ingest.{key}", getattr(params, key)) for key in ONE_COLUMN]
    several = [("ingest.annotators", name) for name in params.annotators]
    return [(key, name) for key, name in single if name] + several


def annotator_columns(params: TableParams) -> tuple[str, ...]:
    """Return the manifest's names of the annotators; InputError where two would be the same."""
    names = tuple(ANNOTATOR_PREFIX + name.removeprefix(ANNOTATOR_PREFIX) for name in params.annotators)
    if len(set(names)) < len(names) or ANNOTATOR_PREFIX in names:
        raise InputError(f"ingest.annotators: {', '.join(params.annotators)}: name each column once")
    return names


@dataclass(frozen=True)
class Template:
    """How a row names its image: fixed text and column names in turn, beginning and ending with text."""

    parts: tuple[str, ...]

    @staticmethod
    def parse(text: str) -> "Template":
        """Read `images/{image}.jpg`; InputError where it is no safe template."""
        parts = tuple(_FIELD.split(text))
        fixed = "".join(parts[::2])
        why = "braces do not match" if {"{", "}"} & set(fixed) else leaves_root(fixed or "x")
        if why is not None:
            raise InputError(
                f"ingest.image: {text!r}: {why}; expected a column, or a path relative to the table's folder "
                "such as images/{image}.jpg"
            )
        return Template(parts)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that it uses, in order."""
        return self.parts[1::2]

    @property
    def folder(self) -> str:
        """Return the folder that all its paths lie in, relative to the table's: `images/`, or empty."""
        folder, slash, _ = self.parts[0].rpartition("/")
        return plain(folder) + slash if folder else ""

    def fill(self, cells: tuple[str | None, ...]) -> str:
        """Put a row's cells in."""
        filled = list(self.parts)
        filled[1::2] = [cell or "" for cell in cells]
        return "".join(filled)


def is_template(image: str) -> bool:
    """Tell a template from the name of a column."""
    return "{" in image or "}" in image


def with_paths(table: TextTable, template: Template, faults: RowFaults) -> TextTable:
    """Add the column PATH, null where a cell is empty; a path that leaves the folder is a fault."""
    paths: list[str | None] = []
    chunks = []
    for row, cells in table.rows(template.columns):
        paths.append(_path(row, cells, template, faults))
        if len(paths) == CHUNK:
            chunks.append(pa.array(paths, pa.string()))
            paths = []
    chunks.append(pa.array(paths, pa.string()))
    return replace(table, columns={**table.columns, PATH: pa.chunked_array(chunks)})


def _path(row: int, cells: tuple[str | None, ...], template: Template, faults: RowFaults) -> str | None:
    if None in cells:
        return None
    filled = template.fill(cells)
    for text in (*cells, filled):
        if (why := leaves_root(text or "")) is not None:
            faults.add(row, "path_outside_root", f"{short(text)}: {why}")
            return None
    return plain(filled)


def check_rows(table: TextTable, params: TableParams, faults: RowFaults) -> None:
    """Look for every fault of the text columns; nothing is raised here."""
    for name in table.columns:
        _check_control(table, name, faults)
    if PATH in table.columns:
        _check_repeats(table, PATH, "duplicate_path", faults)
    if params.id:
        _check_ids(table, params.id, faults)
    for name in filter(None, (params.label, *params.annotators)):
        _check_labels(table, name, faults)
    if params.human_counts:
        human_counts.check(table, params.human_counts, faults)
    if params.split:
        unknown = {text for text in table.values(params.split) if _place(text) is None}
        for row, text in table.rows_of(params.split, unknown):
            known = ", ".join(OFFICIAL_NAMES)
            faults.add(row, "split_unknown", f"{short(text)}; known are {known}")


def _check_control(table: TextTable, name: str, faults: RowFaults) -> None:
    found = pc.fill_null(pc.match_substring(table.columns[name], "\0"), False).to_numpy()
    for row in table.numbers[found].tolist():
        faults.add(row, "nul_character", f"column {name!r} holds a NUL character, which no text has")


def _check_repeats(table: TextTable, name: str, code: str, faults: RowFaults) -> None:
    first: dict[str, int] = {}
    for row, text in table.rows_of(name, repeated(table.columns[name])):
        if text in first:
            faults.add(row, code, f"{short(text)} stands in row {first[text]} too")
        first.setdefault(text, row)


def _check_ids(table: TextTable, name: str, faults: RowFaults) -> None:
    _check_repeats(table, name, "duplicate_id", faults)
    for row in table.numbers[table.columns[name].is_null().to_numpy()].tolist():
        faults.add(row, "id_missing", f"column {name!r} is empty")


def _check_labels(table: TextTable, name: str, faults: RowFaults) -> None:
    """Look for cells that hold two labels: joined texts each of which stands alone elsewhere."""
    known = set(table.values(name))
    several = {text for text in known if _holds_several(text, known)}
    for row, text in table.rows_of(name, several):
        faults.add(row, "label_type", f"{short(text)} in column {name!r} holds several labels; expected one")


def _holds_several(text: str, known: set[str]) -> bool:
    for mark in _BETWEEN_LABELS:
        parts = [part.strip(" []'\"") for part in text.split(mark)]
        if len(parts) > 1 and known.issuperset(parts):
            return True
    return False


def _place(text: str) -> str | None:
    code = OFFICIAL_NAMES.get(text.strip().casefold())
    return None if code is None else PLACES[code]


def label_counts(table: TextTable, params: TableParams) -> dict[str, int]:
    """Count every label that the label column or an annotator gives."""
    counts: dict[str, int] = {}
    for name in filter(None, (params.label, *params.annotators)):
        for text, n in table.values(name).items():
            counts[text] = counts.get(text, 0) + n
    return counts


def facts_of(table: TextTable, params: TableParams) -> Iterator[Facts]:
    """Yield what is known of each row; `name` is the image's path, or table and row."""
    used = [(key, getattr(params, key)) for key in ONE_COLUMN if getattr(params, key)]
    names = [name for _, name in used] + list(params.annotators)
    paths = (cells[0] for _, cells in table.rows([PATH])) if PATH in table.columns else None
    for row, cells in table.rows(names):
        path = next(paths) if paths is not None else None
        known = dict(zip((key for key, _ in used), cells[: len(used)], strict=True))
        yield _facts(path or f"{table.name}:{row}", row, known, cells[len(used) :])


def _facts(name: str, row: int, known: dict[str, str | None], votes: tuple[str | None, ...]) -> Facts:
    consensus, finding = plurality(votes)
    label = known.get("label")
    findings = [finding] if finding else []
    if label is None and consensus is not None:
        label = consensus
        findings += [FROM_ANNOTATORS] if "label" in known else []
    split, counts = known.get("split"), known.get("human_counts")
    return Facts(
        name=name,
        label=label,
        sample_id=known.get("id"),
        group=known.get("group"),
        split_hint=None if split is None else _place(split),
        votes=votes,
        counts=None if counts is None else tuple(human_counts.parse(counts) or ()),
        findings=tuple(findings),
        row=row,
    )
