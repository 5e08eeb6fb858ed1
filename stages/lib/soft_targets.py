"""Several people's opinions as one target: the share of the votes that each class got.

A network taught what people saw, doubt included, is better calibrated and errs where they err (Peterson et
al., "Human uncertainty makes classification more robust", arXiv:1908.07086).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.lib.annotators import PREFIX, vote_shares
from stages.lib.artifacts import read_table
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError


def annotator_targets(curate: Path, dataset: Dataset, positions: np.ndarray) -> np.ndarray:
    """Return targets (M, K) float32, rows summing to 1, for the samples at `positions` (M,).

    The label alone where nobody voted for a class in use, and where curation changed it: a decision outweighs
    the votes that it has seen. InputError without annotators.
    """
    samples = read_table(curate / "samples.parquet")
    columns = [name for name in samples.column_names if name.startswith(PREFIX)]
    if not columns:
        raise InputError(
            "train.targets: annotators, but the manifest has no annotator columns; name them in "
            "ingest.annotators, or write labels"
        )
    said = [samples[name].to_pylist() for name in columns]
    changed = np.array(samples["label"].to_pylist(), object) != np.array(
        samples["given_label"].to_pylist(), object
    )
    votes = np.stack([_places(column, dataset.classes) for column in said], axis=1)[positions]
    return mixed_targets(dataset.labels[positions], votes, changed[positions], len(dataset.classes))


def mixed_targets(labels: np.ndarray, votes: np.ndarray, decided: np.ndarray, n_classes: int) -> np.ndarray:
    """Return shares of votes (M, J), -1 where there is none; the label (M,) alone where it was decided."""
    shares = vote_shares(votes, n_classes)
    alone = decided | (shares.sum(1) == 0)
    return np.where(alone[:, None], np.eye(n_classes)[labels], shares).astype(np.float32)


def _places(names: Sequence[str | None], classes: Sequence[str]) -> np.ndarray:
    place = {name: index for index, name in enumerate(classes)}
    return np.array([-1 if name is None else place.get(name, -1) for name in names], np.int64)
