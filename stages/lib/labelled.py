"""The labelled samples as judging needs them: given labels, annotators' votes, and who shares a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.lib.annotators import PREFIX, Labels, derived_from
from stages.lib.artifacts import read_npy, read_table
from stages.lib.errors import InputError
from stages.lib.image_store import read_pixels
from stages.lib.label_roles import neutral_labels
from stages.lib.picture_identity import same_picture


@dataclass(frozen=True)
class Labelled:
    """The n samples that somebody labelled: given labels (n,), votes (n, J) as class positions, -1: none.

    Those without a given label have votes (a tie, for example). pictures: numbers, equal for equal pictures.
    inputs: what the model sees: embeddings (n, d) or pixels (n, S, S, C).
    """

    sample_ids: list[str]
    classes: list[str]
    labels: Labels
    annotators: list[str]
    votes: Labels
    inputs: np.ndarray
    pictures: Labels


def read_labelled(ingest: Path, embed: Path, model: str) -> Labelled:
    """Read the samples with a label or votes, with what `model` (linear or network) looks at.

    A label that says "not sure" (`ingest.neutral_labels`) is no class, whoever gave it.
    """
    pixels = read_pixels(ingest)
    manifest = read_table(ingest / "manifest.parquet")
    ids, (labels,) = manifest["sample_id"].to_pylist(), _columns(manifest, ["label"])
    columns = [name for name in manifest.column_names if name.startswith(PREFIX)]
    votes = _columns(manifest, columns)
    features = read_npy(embed / "embeddings.npy")
    if tuple(ids) != pixels.sample_ids or len(features) != len(ids):
        raise InputError(f"{ingest} and {embed} hold different samples: run `dvc repro`")
    rows = _labelled_rows(manifest["label"].to_pylist(), labels, votes)
    given, *said = ([column[row] for row in rows] for column in (labels, *votes))
    classes = sorted({name for column in (given, *said) for name in column if name is not None})
    cast = [_positions(column, classes) for column in said]
    return Labelled(
        [ids[row] for row in rows],
        classes,
        _positions(given, classes),
        [name.removeprefix(PREFIX) for name in columns],
        np.stack(cast, axis=1) if cast else np.zeros((len(rows), 0), np.int64),
        (features if model == "linear" else pixels.array)[rows],
        same_picture(pixels.array)[rows],
    )


def _columns(manifest: pa.Table, names: list[str]) -> list[list[str | None]]:
    unsure = neutral_labels(manifest)
    return [[None if said in unsure else said for said in manifest[name].to_pylist()] for name in names]


def _labelled_rows(
    written: list[str | None], labels: list[str | None], votes: list[list[str | None]]
) -> list[int]:
    """Return the rows with a label that is a class, or without any label but with a vote."""
    voted = [any(row) for row in zip(*votes, strict=True)] if votes else [False] * len(labels)
    return [
        row for row, label in enumerate(labels) if label is not None or (written[row] is None and voted[row])
    ]


def _positions(names: list[str | None], classes: list[str]) -> Labels:
    position = {name: index for index, name in enumerate(classes)}
    return np.array([-1 if name is None else position[name] for name in names], np.int64)


def voters(labelled: Labelled) -> tuple[list[str], Labels]:
    """Return names and votes (n, J) of all who labelled.

    The given label is one more opinion, unless it only repeats the votes; where nobody voted it stands alone.
    Without a single vote there are no voters.
    """
    voted = np.asarray((labelled.votes >= 0).any(axis=1))
    if not voted.any():
        return [], np.zeros((len(voted), 0), np.int64)
    counted = ~voted if derived_from(labelled.labels, labelled.votes) else np.ones(len(voted), bool)
    if not counted.any():
        return labelled.annotators, labelled.votes
    own = np.where(counted, labelled.labels, -1)
    return [*labelled.annotators, GIVEN], np.hstack([labelled.votes, own[:, None]])


GIVEN = "(label)"
"""How the label column is called among the annotators; not a name that a column can give."""
