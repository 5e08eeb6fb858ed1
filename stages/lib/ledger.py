"""The ledger of curation: one row per change, in order, so that it can be replayed and taken back.

Replaying the rows on the manifest gives the curated table; taking them back in reverse gives the manifest.
Every row states what it found before and what it left, so a ledger that does not belong to a table is
noticed.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.lib.artifacts import read_csv, write_csv
from stages.lib.errors import InputError

FINDING_RULES = (
    "conflicts",
    "annotators_disagree",
    "labels_from_votes",
    "consensus_differs",
    "label_errors",
    "exact_copies",
    "near_copies",
)
"""Rules that act on findings; `neutral_labels` acts on what the label says, `human` on a decision."""

ADDED = ("status", "given_label", "reason", "consensus_quality", "agreement")
"""Columns that curation adds to the manifest's."""

WITHHELD = "withheld"
"""The action of a row that changes nothing: a rule that would have, where only a person may."""


@dataclass(frozen=True)
class State:
    """What curation decides about a sample; reason is the last rule that changed it, empty if none did."""

    status: str
    label: str | None
    reason: str = ""


@dataclass(frozen=True)
class Change:
    """One row; the fields are the columns of ledger.csv, where no label is an empty cell."""

    sample_id: str
    action: str
    from_label: str | None
    to_label: str | None
    from_status: str
    to_status: str
    rule: str
    evidence: str
    who: str
    when: str
    note: str


COLUMNS = tuple(field.name for field in fields(Change))


def apply_ledger(manifest: pa.Table, changes: Sequence[Change]) -> pa.Table:
    """Return the curated table: the manifest, `label` as curated, plus status, given_label and reason."""
    states = {
        sample_id: State("keep", label)
        for sample_id, label in zip(
            manifest["sample_id"].to_pylist(), manifest["label"].to_pylist(), strict=True
        )
    }
    for change in changes:
        _expect(states, change, change.from_status, change.from_label)
        if change.action != WITHHELD:
            states[change.sample_id] = State(change.to_status, change.to_label, change.rule)
    final = [states[sample_id] for sample_id in manifest["sample_id"].to_pylist()]
    return (
        _with_labels(manifest, [state.label for state in final])
        .append_column("status", pa.array([state.status for state in final], pa.string()))
        .append_column("given_label", manifest["label"])
        .append_column("reason", pa.array([state.reason for state in final], pa.string()))
    )


def with_uncertainty(samples: pa.Table, quality: np.ndarray, agreement: np.ndarray) -> pa.Table:
    """Return the curated table with how sure the consensus is, (N,) each; NaN (nobody voted) becomes null."""
    for name, values in (("consensus_quality", quality), ("agreement", agreement)):
        samples = samples.append_column(name, pa.array(values.astype(np.float32), from_pandas=True))
    return samples


def undo_ledger(samples: pa.Table, changes: Sequence[Change]) -> pa.Table:
    """Return the manifest: the curated table with every change taken back, last first."""
    columns = ("sample_id", "status", "label")
    rows = zip(*(samples[name].to_pylist() for name in columns), strict=True)
    states = {sample_id: State(status, label) for sample_id, status, label in rows}
    for change in reversed(changes):
        _expect(states, change, change.to_status, change.to_label)
        states[change.sample_id] = State(change.from_status, change.from_label)
    labels = [states[sample_id].label for sample_id in samples["sample_id"].to_pylist()]
    return _with_labels(samples, labels).drop_columns(
        [name for name in ADDED if name in samples.column_names]
    )


def _expect(states: dict[str, State], change: Change, status: str, label: str | None) -> None:
    found = states.get(change.sample_id)
    if found is None or (found.status, found.label) != (status, label):
        raise InputError(
            f"ledger.csv does not belong to this table: {change.sample_id!r} should be {status} {label!r}, "
            f"found {found and (found.status, found.label)}. Run `dvc repro curate`."
        )


def _with_labels(table: pa.Table, labels: Sequence[str | None]) -> pa.Table:
    index = table.schema.get_field_index("label")
    return table.set_column(
        index, table.schema.field(index), pa.array(labels, table.schema.field(index).type)
    )


def write_ledger(path: Path, changes: Sequence[Change]) -> None:
    """Write ledger.csv."""
    write_csv(path, COLUMNS, [astuple(change) for change in changes])


def read_ledger(path: Path) -> list[Change]:
    """Read ledger.csv."""
    return [_change(row) for row in read_csv(path)]


def _change(row: dict[str, str]) -> Change:
    labels = {name: row[name] or None for name in ("from_label", "to_label")}
    return Change(**(row | labels))  # type: ignore[arg-type]  # the columns are the fields; labels may be None
