"""Take in a CSV or Parquet table: one record per row, and one per file that no row names.

Images are bytes inside a Parquet column, or files beside the table. The table is read twice: first its text,
so that all faults are told at once before an image is opened; then its images, as a stream.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.lib.csv_file import read_csv_table
from stages.lib.decode_worker import Rules
from stages.lib.errors import InputError
from stages.lib.folder_scan import name_collisions, scan
from stages.lib.intake import Facts, Ignored, Record
from stages.lib.label_names import check_classes, tell_unused
from stages.lib.parquet_file import MAGIC, holds_bytes, read_parquet_table, stream_images
from stages.lib.reading import Item, read_items
from stages.lib.refusal import Quarantined
from stages.lib.row_faults import RowFaults
from stages.lib.signature import archive_name
from stages.lib.table_rows import (
    PATH,
    TableParams,
    Template,
    annotator_columns,
    check_rows,
    facts_of,
    is_template,
    label_counts,
    text_columns,
    with_paths,
)
from stages.lib.text_table import TextTable

SHOWN = 20

_TABLES_AND_NOTES = frozenset({"csv", "tsv", "parquet", "json", "jsonl", "txt", "md", "xlsx", "xls", "html"})
"""Endings of what lies beside images without being one: ignored and counted, in the table's folder only."""


@dataclass(frozen=True)
class Policy:
    """What is done with labels whatever the source: allowed names (empty: all), and those not used."""

    classes: tuple[str, ...]
    neutral: tuple[str, ...]
    drop: tuple[str, ...]

    def check(self, source: str, counts: dict[str, int]) -> None:
        """Check the labels of a source before its images are read."""
        allowed = {*self.classes, *self.neutral, *self.drop} if self.classes else ()
        check_classes(source, counts, allowed)
        tell_unused("ingest.neutral_labels", self.neutral, counts)
        tell_unused("ingest.drop_labels", self.drop, counts)


def table_records(path: Path, params: TableParams, policy: Policy, rules: Rules) -> Iterator[Record]:
    """Yield a record per row in row order, then one per file without a row and per entry that is no data."""
    if not params.image:
        raise InputError(
            "ingest.image: source: table needs the column that holds the images, or a template such as "
            "images/{image}.jpg"
        )
    annotator_columns(params)
    is_parquet = _is_parquet(path)
    if is_parquet and not is_template(params.image) and holds_bytes(path, params.image):
        table = read_parquet_table(path, text_columns(params), params.image)
        _check(table, params, policy, RowFaults(path.name))
        items = _embedded(path, table, params, policy)
    else:
        template = Template.parse(params.image if is_template(params.image) else f"{{{params.image}}}")
        wanted = [*text_columns(params), *(("ingest.image", name) for name in template.columns)]
        text = read_parquet_table(path, wanted, "") if is_parquet else read_csv_table(path, wanted)
        faults = RowFaults(path.name)
        table = with_paths(text, template, faults)
        _check(table, params, policy, faults)
        items = _from_files(path, table, template, params, policy)
    yield from read_items(items, rules, len(table.numbers))


def _is_parquet(path: Path) -> bool:
    """Decide by the first bytes; InputError for what is no table."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(MAGIC):
        return True
    archive = archive_name(start)
    if archive or path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        seen = f"a {archive} archive (or a document packed as one)" if archive else "no Parquet file inside"
        raise InputError(
            f"ingest.path: {path}: this is {seen}; expected a .csv or .parquet table: unpack or export it, "
            "put the result into data/raw and name it here"
        )
    return False


def _check(table: TextTable, params: TableParams, policy: Policy, faults: RowFaults) -> None:
    check_rows(table, params, faults)
    faults.stop()
    policy.check(table.name, label_counts(table, params))


def _unused(facts: Facts, params: TableParams, policy: Policy) -> Record | None:
    """Return the record of a row whose image is not read because of its label, or None."""
    if facts.label in policy.drop:
        return Ignored("dropped_label")
    if facts.label is None and params.missing_label == "quarantine" and not any(facts.votes):
        detail = f"row {facts.row} has no label: add it, or set ingest.missing_label to unlabelled"
        return Quarantined(facts.name, "label_missing", detail, "", facts.row)
    return None


def _embedded(path: Path, table: TextTable, params: TableParams, policy: Policy) -> Iterator[Item | Record]:
    images = stream_images(path, params.image, len(table.numbers))
    for facts, data in zip(facts_of(table, params), images, strict=True):
        unused = _unused(facts, params, policy)
        if unused is not None:
            yield unused
        elif data is None:
            detail = f"row {facts.row} holds no image bytes: add them or remove the row"
            yield Quarantined(facts.name, "image_missing", detail, "", facts.row)
        else:
            yield Item(facts, data)


def _from_files(
    path: Path, table: TextTable, template: Template, params: TableParams, policy: Policy
) -> Iterator[Item | Record]:
    root = path.parent
    files = Files.listed(root, template.folder, path.name)
    paths = [cell for _, (cell,) in table.rows([PATH]) if cell is not None]
    extra = files.without(set(paths))
    if params.unmatched == "error":
        _stop_unmatched(table, files, extra)
    collisions = name_collisions(paths)
    for (_, (name,)), facts in zip(table.rows([PATH]), facts_of(table, params), strict=True):
        unused = _unused(facts, params, policy)
        if unused is not None:
            yield unused
        elif name is None or name not in files.found:
            reason, detail = files.why_not(root, name)
            yield Quarantined(facts.name, reason, f"row {facts.row}: {detail}", "", facts.row)
        else:
            found = (*facts.findings, "name_collision") if name in collisions else facts.findings
            yield Item(Facts(**(vars(facts) | {"findings": found})), root / name)
    for name in extra:
        yield Quarantined(name, "file_without_row", _WITHOUT_ROW)
    named = set(paths)
    yield from (item for name, item in files.refused.items() if name not in named)
    yield from (Ignored() for _ in range(files.n_ignored))


_WITHOUT_ROW = "no row of the table names this file: add a row (without a label if it has none) or remove it"


@dataclass(frozen=True)
class Files:
    """What lies in the folder of the images, by path relative to the table's folder."""

    found: frozenset[str]
    refused: dict[str, Quarantined]
    n_ignored: int

    @staticmethod
    def listed(root: Path, folder: str, table: str) -> "Files":
        """List the folder of the images; beside the table, tables and notes are no images."""
        if _has_link(root, folder) or not (root / folder).is_dir():
            seen = "is a link, which is not followed" if _has_link(root, folder) else "does not exist"
            raise InputError(
                f"ingest.image: the folder {folder!r} beside {table} {seen}: put the images there"
            )
        listed = scan(root / folder)
        names = {folder + item.name for item in listed.found}
        beside = {name for name in names if "/" not in name and _ending(name) in _TABLES_AND_NOTES}
        refused = {folder + item.file: _moved(item, folder) for item in listed.quarantined}
        return Files(frozenset(names - beside), refused, listed.n_ignored + len(beside))

    def without(self, named: set[str]) -> list[str]:
        """Return the files that no row names, by name."""
        return sorted(self.found - named, key=str.encode)

    def why_not(self, root: Path, name: str | None) -> tuple[str, str]:
        """Say why a row's file is not read: reason code and sentence."""
        if name is None:
            return "image_missing", "the cell that names its image is empty"
        parts = name.split("/")
        for n_parts in range(len(parts), 0, -1):
            parent = "/".join(parts[:n_parts])
            item = self.refused.get(parent) or self.refused.get(f"{parent}/")
            if item is not None:
                return item.reason, item.detail
        if (root / name).is_file():
            return "file_ignored", "its file is hidden or a system's own, which are never read: rename it"
        return "file_missing", "its file is not there: add it, mend the cell, or remove the row"


def _has_link(root: Path, folder: str) -> bool:
    """Tell whether a part of the images' folder is a link."""
    parts = folder.rstrip("/").split("/")
    return any((root / "/".join(parts[:n])).is_symlink() for n in range(1, len(parts) + 1) if folder)


def _moved(item: Quarantined, folder: str) -> Quarantined:
    return Quarantined(folder + item.file, item.reason, item.detail, item.sha256)


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _stop_unmatched(table: TextTable, files: Files, extra: list[str]) -> None:
    rows = [
        f"  row {row}: {name!r} has no file" for row, (name,) in table.rows([PATH]) if name not in files.found
    ]
    lost = [f"  {name!r} has no row" for name in extra]
    if not rows and not lost:
        return
    lines = []
    for found in (rows, lost):
        lines += found[:SHOWN] + ([f"  … and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])
    raise InputError(
        f"{table.name}: {len(rows)} rows without a file and {len(lost)} files without a row "
        "(ingest.unmatched is error):\n" + "\n".join(lines) + "\nMend the table or the folder, or set "
        "ingest.unmatched to quarantine"
    )
