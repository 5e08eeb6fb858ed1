"""A folder in which `assay tune` can run: small pictures as earlier stages leave them, and small params."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.dataset import Dataset
from stages.lib.yaml_edit import flow, with_values
from tests.prepared_data import bars_dataset, write_prepared
from tests.training_fixture import WIDTHS, write_encoder

ROOT = Path(__file__).parent.parent

SMALL: dict[str, Any] = {
    "train.widths": list(WIDTHS),
    "train.epochs": 3,
    "train.head_epochs": 1,
    "train.batch_size": 16,
    "train.ema_decay": 0.5,
    "tune.trials": 3,
    "tune.pruner": "none",
}

SPACE: dict[str, Any] = {
    "train.learning_rate": {"low": 1.0e-4, "high": 1.0e-1, "log": True},
    "train.head_epochs": {"low": 0, "high": 2},
    "train.schedule.kind": {"choices": ["cosine", "constant"]},
}


def write_tune_project(
    root: Path, dataset: Dataset | None = None, space: Mapping[str, Any] = SPACE, **changes: Any
) -> Path:
    """Write params.yaml and data; `changes` are of the section tune."""
    dataset = dataset or bars_dataset(90)
    data = root / "data"
    write_prepared(data, dataset)
    # The encoder of a dataset whose test rows differ must not differ: it has not seen them.
    seen = replace(dataset, pixels=np.where(_is_test(dataset), 0, dataset.pixels).astype(np.uint8))
    write_encoder(data / "pretrain/encoder.safetensors", seen)
    write_params(root, space, **changes)
    return root


def write_params(root: Path, space: Mapping[str, Any] = SPACE, **changes: Any) -> None:
    """Write the project's own params.yaml with small numbers and another space, comments and all."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    before, _, rest = text.partition("  space:\n")
    after = rest[rest.index("  # random:") :]
    text = f"{before}  space: {flow(space)}\n{after}"
    values = SMALL | {f"tune.{key}": value for key, value in changes.items()}
    (root / "params.yaml").write_text(with_values(text, values, "params.yaml"), encoding="utf-8")


def copy_project(source: Path, root: Path) -> Path:
    """Copy one, to be changed."""
    shutil.copytree(source, root)
    return root


def _is_test(dataset: Dataset) -> np.ndarray:
    return np.asarray((dataset.split == "test")[:, None, None, None])
