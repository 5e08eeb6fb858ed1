"""What predictions are held against: labels, split and group of every val and test sample, and the alignment.

A prediction file that lacks a sample, repeats one or brings a stranger is refused: an accuracy over other
samples than the reader thinks is the worst number an evaluation can print.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.artifacts import read_csv, read_json, read_table
from stages.lib.errors import InputError
from stages.lib.predictions import Predictions, read_predictions
from stages.lib.relatives import groups_among

SCORED = ("val", "test")
"""Splits that predictions are made for and held against the truth."""

PARTIAL = "human"
"""The one prediction that may cover fewer samples: people annotate what they were shown."""


@dataclass(frozen=True)
class Truth:
    """The N val and test samples in manifest order.

    split (N,) text; labels (N,) int64, positions in `classes`; groups (N,) int64, 0..G-1: samples of one
    duplicate group or one user group share a number.
    """

    sample_ids: tuple[str, ...]
    split: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One prediction, aligned: row i of pred_probs (M, K) belongs to sample positions[i] of the truth."""

    name: str
    positions: np.ndarray
    pred_probs: np.ndarray


def load_truth(curate: Path, split: Path, duplicates: Path) -> Truth:
    """Join curated labels, splits and groups of the val and test samples."""
    classes = tuple(read_json(split / "classes.json"))
    place = {row["sample_id"]: row["split"] for row in read_csv(split / "splits.csv")}
    samples = read_table(curate / "samples.parquet", ["sample_id", "label", "group"])
    rows = [row for row in samples.to_pylist() if place.get(row["sample_id"]) in SCORED]
    lost = sum(name in SCORED for name in place.values()) - len(rows)
    if lost:
        raise InputError(
            f"{split}/splits.csv names {lost} val or test samples that {curate} lacks: run `dvc repro`"
        )
    ids = tuple(row["sample_id"] for row in rows)
    return Truth(
        sample_ids=ids,
        split=np.array([place[sample_id] for sample_id in ids], dtype=np.str_),
        labels=_labels(rows, classes, split),
        groups=groups_among(duplicates, ids, [row["group"] for row in rows]),
        classes=classes,
    )


def has_official_split(curate: Path) -> bool:
    """Say whether the data came with a split of its own."""
    hints = read_table(curate / "samples.parquet", ["split_hint"])["split_hint"]
    return bool(hints.null_count < len(hints))


def _labels(rows: list[dict[str, str | None]], classes: tuple[str, ...], split: Path) -> np.ndarray:
    position: dict[str | None, int] = {name: index for index, name in enumerate(classes)}
    for row in rows:
        if row["label"] not in position:
            raise InputError(
                f"sample {row['sample_id']}: label {row['label']!r} is not in {split}/classes.json"
            )
    return np.array([position[row["label"]] for row in rows], dtype=np.int64)


def load_entries(truth: Truth, folders: list[Path]) -> dict[str, Entry]:
    """Read and align every prediction file of these folders; a name that stands in two of them is refused."""
    entries: dict[str, Entry] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.parquet")):
        if path.stem in entries:
            raise InputError(f"{path}: another folder also holds a prediction named {path.stem}: rename one")
        entries[path.stem] = align(truth, path, read_predictions(path))
    if not entries:
        raise InputError(f"no prediction files in {', '.join(map(str, folders))}: run `dvc repro`")
    return entries


def align(truth: Truth, path: Path, predictions: Predictions) -> Entry:
    """Put the rows of one prediction file into the truth's order; InputError where they do not match it."""
    position = {sample_id: index for index, sample_id in enumerate(truth.sample_ids)}
    _check_match(truth, path, predictions, position)
    found = np.array([position[sample_id] for sample_id in predictions.sample_ids], dtype=np.int64)
    order = np.argsort(found)
    return Entry(path.stem, found[order], predictions.pred_probs[order])


def _check_match(truth: Truth, path: Path, predictions: Predictions, position: Mapping[str, int]) -> None:
    fault = _fault(truth, path.stem, predictions, position)
    if fault:
        raise InputError(f"{path}: {fault}; it was made from another split: run `dvc repro`")


def _fault(truth: Truth, name: str, predictions: Predictions, position: Mapping[str, int]) -> str | None:
    seen = set(predictions.sample_ids)
    if len(seen) != len(predictions.sample_ids):
        return f"{len(predictions.sample_ids) - len(seen)} sample_ids stand twice"
    strangers = [sample_id for sample_id in predictions.sample_ids if sample_id not in position]
    if strangers:
        return f"{len(strangers)} samples are in neither val nor test, the first is {strangers[0]}"
    missing = [sample_id for sample_id in truth.sample_ids if sample_id not in seen]
    if missing and name != PARTIAL:
        return f"{len(missing)} val or test samples are missing, the first is {missing[0]}"
    n_columns = predictions.pred_probs.shape[1]
    if n_columns != len(truth.classes):
        return f"{n_columns} probabilities a row for {len(truth.classes)} classes in classes.json"
    for sample_id, split in zip(predictions.sample_ids, predictions.split, strict=True):
        if split != truth.split[position[sample_id]]:
            return f"{sample_id} is called {split}, but splits.csv says {truth.split[position[sample_id]]}"
    return None
