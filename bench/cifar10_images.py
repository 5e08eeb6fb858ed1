"""CIFAR-10 of the shared data (ASSAY_SHARED_DATA, or ../shared/data) as arrays, for the benches."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

CLEAN = {"train": "clean_label", "test": "label"}
"""Each part's column of labels that are right; training files also hold what annotators said."""


def read(part: str, n: int | None = None) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return the first `n` pixels (n, 32, 32, 3) uint8 and labels (n,) int64 of a part, and the classes."""
    folder = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10"
    table = pq.read_table(folder / f"{part}.parquet", columns=["image", CLEAN[part]])
    classes = tuple(sorted(set(table[CLEAN[part]].to_pylist())))
    table = table.slice(0, n)
    files = (row["bytes"] for row in table["image"].to_pylist())
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("RGB")) for file in files])
    names = table[CLEAN[part]].to_pylist()
    return pixels, np.array([classes.index(name) for name in names]), classes
