"""What people said of the images, from every place where they can have said it.

Columns `annotator_<name>` and the column `human_counts` of the manifest, and data/review/annotations.csv with
the columns sample_id, annotator, label: one row a judgement, an empty label (or one that is no class) for
"not sure". A later row of one person on one image replaces the earlier one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.lib.agreement import vote_counts
from stages.lib.human_counts import counts_of
from stages.lib.label_roles import neutral_labels
from stages.lib.review_file import read_rows, refuse

PREFIX = "annotator_"
FILE = "annotations.csv"
COLUMNS = ("sample_id", "annotator", "label")


@dataclass(frozen=True)
class Votes:
    """said (N, A): class positions of the people in `names`, -1 where none; unnamed (N, K): other votes."""

    names: tuple[str, ...]
    said: np.ndarray
    unnamed: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """All votes (N, K) int64."""
        return np.asarray(vote_counts(self.said, self.unnamed.shape[1]) + self.unnamed)

    def of(self, rows: np.ndarray) -> "Votes":
        """Return the votes on some samples."""
        return Votes(self.names, self.said[rows], self.unnamed[rows])


def read_votes(manifest: pa.Table, review: Path, classes: Sequence[str]) -> Votes:
    """Return all votes in manifest order; InputError lists every fault of annotations.csv."""
    names = [name for name in manifest.column_names if name.startswith(PREFIX)]
    people = {name.removeprefix(PREFIX): manifest[name].to_pylist() for name in names}
    ids = manifest["sample_id"].to_pylist()
    known = {*classes, *neutral_labels(manifest), *manifest["label"].drop_null().to_pylist()}
    _add_file(people, review / FILE, ids, known)
    return Votes(tuple(people), positions(people, ids, classes), counts_of(manifest, classes))


def positions(
    people: Mapping[str, Sequence[str | None]], ids: Sequence[str], classes: Sequence[str]
) -> np.ndarray:
    """Return what each person said (N, A) int64 as positions in `classes`, -1 where it is none of them."""
    place: dict[str | None, int] = {name: index for index, name in enumerate(classes)}
    columns = [[place.get(said, -1) for said in column] for column in people.values()]
    return np.array(columns, np.int64).reshape(len(columns), len(ids)).T


def _add_file(people: dict[str, list[str | None]], path: Path, ids: list[str], known: set[str]) -> None:
    row_of, faults = {sample_id: row for row, sample_id in enumerate(ids)}, []
    for line, cells in read_rows(path, COLUMNS):
        sample_id, person, label = (cells[name] for name in COLUMNS)
        if sample_id not in row_of:
            faults.append(f"row {line}: unknown sample_id {sample_id!r}")
        elif not person.strip():
            faults.append(f"row {line}: nobody in the column annotator: who said it?")
        elif label and label not in known:
            faults.append(f"row {line}: unknown label {label!r}; leave it empty for 'not sure'")
        else:
            people.setdefault(person, [None] * len(ids))[row_of[sample_id]] = label or None
    refuse(path, faults)
