"""Pixels, labels and splits are joined by sample, or refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.lib.artifacts import write_csv, write_json, write_table
from stages.lib.dataset import load_dataset
from stages.lib.errors import InputError
from stages.lib.image_store import FILE, encode_png, write_images

IDS = ("a", "b", "c", "d", "e")
LABELS = ["cat", "dog", "cat", None, "unsure"]
SPLITS = {"a": "train", "b": "test", "d": "unlabelled", "e": "neutral"}


def artifacts(root: Path, ids: tuple[str, ...] = IDS, splits: dict[str, str] = SPLITS) -> tuple[Path, ...]:
    pixels = (np.full((8, 8), i, np.uint8) for i in range(len(IDS)))
    write_images(root / "ingest" / FILE, zip(IDS, map(encode_png, pixels), strict=True), 8, 1, "digest")
    write_table(root / "curate" / "samples.parquet", pa.table({"sample_id": ids, "label": LABELS}))
    write_csv(root / "split" / "splits.csv", ["sample_id", "split"], splits.items())
    write_json(root / "split" / "classes.json", ["cat", "dog"])
    return root / "ingest", root / "curate", root / "split"


def test_samples_keep_manifest_order_and_only_supervised_ones_have_a_label(tmp_path: Path) -> None:
    dataset = load_dataset(*artifacts(tmp_path))
    assert dataset.sample_ids == IDS
    assert dataset.split.tolist() == ["train", "test", "", "unlabelled", "neutral"]
    assert dataset.labels.tolist() == [0, 1, -1, -1, -1]
    assert dataset.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert dataset.part("train", "neutral").tolist() == [0, 4]


def test_records_of_another_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="differ"):
        load_dataset(*artifacts(tmp_path, ids=("b", "a", "c", "d", "e")))


def test_a_trained_sample_without_a_known_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"label that classes\.json lacks"):
        load_dataset(*artifacts(tmp_path, splits={"e": "train"}))
