"""Small prepared data sets for the stages that learn: pictures with a bright bar whose place is the class."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.lib.artifacts import write_csv, write_json, write_table
from stages.lib.dataset import Dataset
from stages.lib.image_store import encode_png, write_images

CLASSES = ("left $x_1$", "middle", "right")
"""One name that a formula renderer would stumble over."""


def bars(n: int, side: int = 8, channels: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (n, side, side, channels) uint8 and labels (n,) int64: a bar in a third of it."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % len(CLASSES)
    pixels = rng.integers(0, 90, (n, side, side, channels))
    for at, label in enumerate(labels):
        column = label * side // 3 + rng.integers(0, max(side // 3 - 1, 1))
        pixels[at, :, column : column + 2] += rng.integers(100, 160)
    return pixels.astype(np.uint8), labels


def split_names(n: int, neutral: int = 0, unlabelled: int = 0) -> np.ndarray:
    """Return the split (n,) of each sample: the last ones neutral and unlabelled, of the rest 3/5 train."""
    names = np.array(
        [("train", "train", "train", "val", "test")[at // 3 % 5] for at in range(n)], dtype="<U10"
    )
    names[n - neutral - unlabelled : n - unlabelled] = "neutral"
    names[n - unlabelled :] = "unlabelled"
    return names


def bars_dataset(n: int = 90, side: int = 8, neutral: int = 0, unlabelled: int = 0, seed: int = 0) -> Dataset:
    """Return the pictures as stages see them."""
    pixels, labels = bars(n, side, seed=seed)
    split = split_names(n, neutral, unlabelled)
    shown = np.where(np.isin(split, ("train", "val", "test")), labels, -1)
    return Dataset(tuple(f"s{at:04}" for at in range(n)), pixels, shown, split, CLASSES)


@dataclass(frozen=True)
class Folders:
    """The folders that earlier stages would have written."""

    ingest: Path
    curate: Path
    split: Path
    class_balance: Path
    duplicates: Path


def write_prepared(root: Path, dataset: Dataset, loss_weight: float = 1.0) -> Folders:
    """Write `dataset` as ingest, curate, split and class_balance would have left it."""
    folders = Folders(*(root / name for name in ("ingest", "curate", "split", "class_balance", "duplicates")))
    images = [encode_png(picture) for picture in dataset.pixels]
    digest = hashlib.sha256(b"".join(images)).hexdigest()
    side, channels = dataset.pixels.shape[1], dataset.pixels.shape[3]
    pairs = zip(dataset.sample_ids, images, strict=True)
    write_images(folders.ingest / "images.parquet", pairs, side, channels, digest)
    labels = [dataset.classes[at] if at >= 0 else None for at in dataset.labels]
    given = [name if name is not None else dataset.classes[0] for name in labels]
    columns = {"sample_id": list(dataset.sample_ids), "label": labels, "given_label": given}
    columns["reason"] = ["conflicts" if part == "neutral" else "" for part in dataset.split]
    columns["source"] = [f"pictures/{name}.png" for name in dataset.sample_ids]
    nobody = pa.nulls(len(labels), pa.string())
    named = {"group": nobody, "sha256": pa.array([f"{at:064x}" for at in range(len(labels))])}
    write_table(folders.curate / "samples.parquet", pa.table(columns | named))
    copies = {"sample_id": pa.array([], pa.string()), "group_id": pa.array([], pa.string())}
    write_table(folders.duplicates / "groups.parquet", pa.table(copies))
    write_csv(
        folders.split / "splits.csv",
        ["sample_id", "split"],
        [(name, part) for name, part in zip(dataset.sample_ids, dataset.split, strict=True) if part],
    )
    write_json(folders.split / "classes.json", list(dataset.classes))
    entry = {"n": 1, "sampling_weight": 1.0, "loss_weight": loss_weight, "augmentation_strength": 1.0}
    write_json(folders.class_balance / "plan.json", {"classes": dict.fromkeys(dataset.classes, entry)})
    return folders


def with_copies(folder: Path, pairs: dict[str, str]) -> None:
    """Write duplicate groups: {sample: the one it resembles}."""
    ids = [name for pair in pairs.items() for name in pair]
    groups = [other for pair in pairs.items() for other in (pair[1],) * 2]
    write_table(folder / "groups.parquet", pa.table({"sample_id": ids, "group_id": groups}))
