"""Who is related to whom: copies of one picture, and samples of one group that the user named.

What a network learns of a relative of a test image it learns of that image, with or without a label.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.lib.artifacts import read_table
from stages.lib.components import joined_groups
from stages.lib.dataset import Dataset

WITHOUT_LABELS = ("neutral", "unlabelled")
"""The splits that only learning without labels can use, and that `split` does not keep apart from test."""


def groups_among(duplicates: Path, sample_ids: Sequence[str], named: Sequence[str | None]) -> np.ndarray:
    """Return the number (N,) int64 of each sample's group, as far as it shows among these samples alone.

    named (N,): the groups that the user named.
    """
    copies = read_table(duplicates / "groups.parquet", ["sample_id", "group_id"])
    same_picture = dict(zip(copies["sample_id"].to_pylist(), copies["group_id"].to_pylist(), strict=True))
    return joined_groups([same_picture.get(name) for name in sample_ids], named)


def groups_of(duplicates: Path, curate: Path, dataset: Dataset) -> np.ndarray:
    """Return the number (N,) int64 of each sample's group: copies of one picture, or what the user named."""
    named = read_table(curate / "samples.parquet", ["group"])["group"].to_pylist()
    return groups_among(duplicates, dataset.sample_ids, named)


def apart_from(
    dataset: Dataset, groups: np.ndarray, positions: np.ndarray, splits: Sequence[str]
) -> np.ndarray:
    """Return those of `positions` (M,) that share no group (N,) with a sample of `splits`."""
    held_out = np.unique(groups[dataset.part(*splits)])
    return np.asarray(positions[~np.isin(groups[positions], held_out)])
