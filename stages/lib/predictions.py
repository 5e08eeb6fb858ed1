"""The one artifact of everything that predicts: `<name>.parquet` with sample_id, split and pred_probs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stages.lib.artifacts import read_table, write_table
from stages.lib.errors import InputError

SUM_TOLERANCE = 1e-3
"""float32 rows over 1,000 classes sum to 1 within 1e-4; ten times that is a fault, not rounding."""


@dataclass(frozen=True)
class Predictions:
    """Probabilities of N samples over K classes: pred_probs (N, K) float32, rows sum to 1."""

    sample_ids: tuple[str, ...]
    split: tuple[str, ...]
    pred_probs: np.ndarray


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Check and write; the columns of pred_probs follow data/split/classes.json."""
    _check(path, predictions)
    n_classes = predictions.pred_probs.shape[1]
    flat = pa.array(np.ascontiguousarray(predictions.pred_probs, np.float32).reshape(-1))
    columns = {
        "sample_id": pa.array(predictions.sample_ids, pa.string()),
        "split": pa.array(predictions.split, pa.string()),
        "pred_probs": pa.FixedSizeListArray.from_arrays(flat, n_classes),
    }
    write_table(path, pa.table(columns))


def read_predictions(path: Path) -> Predictions:
    """Read and check; InputError names the file and the first row at fault."""
    table = read_table(path, ["sample_id", "split", "pred_probs"])
    probs = _matrix(table["pred_probs"])
    ids, split = table["sample_id"].to_pylist(), table["split"].to_pylist()
    predictions = Predictions(tuple(ids), tuple(split), probs)
    _check(path, predictions)
    return predictions


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Return (N, K) float32; Arrow's own to_numpy would import pandas."""
    if not len(column):
        return np.empty((0, 0), np.float32)
    flat = column.combine_chunks().flatten().cast(pa.float32())
    values = np.frombuffer(flat.buffers()[1], np.float32, len(flat), flat.offset * 4)
    return values.reshape(len(column), -1)


def _check(path: Path, predictions: Predictions) -> None:
    probs = predictions.pred_probs
    lengths = {len(predictions.sample_ids), len(predictions.split), len(probs)}
    if probs.ndim != 2 or len(lengths) != 1:
        raise InputError(f"{path}: sample_id, split and pred_probs have different lengths: {sorted(lengths)}")
    if len(set(predictions.sample_ids)) != len(predictions.sample_ids):
        raise InputError(f"{path}: a sample_id stands twice")
    faulty = ~np.isfinite(probs).all(1) | (probs < 0).any(1) | (np.abs(probs.sum(1) - 1) > SUM_TOLERANCE)
    if faulty.any():
        row = int(np.flatnonzero(faulty)[0])
        raise InputError(f"{path}: row {row} ({predictions.sample_ids[row]}) is no probability distribution")
