"""Pixels, curated labels and splits joined: what every stage that learns or predicts reads."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.artifacts import read_csv, read_json, read_table
from stages.lib.errors import InputError
from stages.lib.image_store import read_pixels

SPLITS = ("train", "val", "test")
"""The supervised splits, in the order in which they may be looked at."""


@dataclass(frozen=True)
class Dataset:
    """All samples in manifest order.

    pixels (N, H, W, C) uint8; labels (N,) int64, positions in `classes`, -1 where there is none;
    split (N,) text: train, val, test, neutral, unlabelled, or empty for a sample that curation dropped.
    """

    sample_ids: tuple[str, ...]
    pixels: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    classes: tuple[str, ...]

    def part(self, *names: str) -> np.ndarray:
        """Return the positions (M,) int64 of the samples in these splits, in manifest order."""
        return np.flatnonzero(np.isin(self.split, names))


def load_dataset(ingest: Path, curate: Path, split: Path) -> Dataset:
    """Join the stages' records by sample_id; InputError where they do not belong to each other."""
    pixels = read_pixels(ingest)
    samples = read_table(curate / "samples.parquet", ["sample_id", "label"])
    ids = tuple(samples["sample_id"].to_pylist())
    if ids != pixels.sample_ids:
        raise InputError(f"{curate}/samples.parquet and {ingest}/images.parquet differ: run `dvc repro`")
    classes = tuple(read_json(split / "classes.json"))
    place = {row["sample_id"]: row["split"] for row in read_csv(split / "splits.csv")}
    splits = np.array([place.get(sample_id, "") for sample_id in ids])
    return Dataset(
        ids, pixels.array, _positions(samples["label"].to_pylist(), splits, classes), splits, classes
    )


def _positions(labels: list[str | None], splits: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    position = {name: index for index, name in enumerate(classes)}
    found = np.array([-1 if label is None else position.get(label, -1) for label in labels], np.int64)
    lost = np.flatnonzero((found < 0) & np.isin(splits, SPLITS))
    if len(lost):
        raise InputError(f"{len(lost)} samples in train, val or test have a label that classes.json lacks")
    return np.where(np.isin(splits, SPLITS), found, -1)
