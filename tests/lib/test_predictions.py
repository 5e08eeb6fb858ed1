"""Predictions come back as they were written, or are refused with file and row."""

from pathlib import Path

import numpy as np
import pytest

from stages.lib.errors import InputError
from stages.lib.predictions import Predictions, read_predictions, write_predictions

PROBS = np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)


def test_predictions_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_predictions(path, Predictions(("a", "b"), ("val", "test"), PROBS))
    back = read_predictions(path)
    assert back.sample_ids == ("a", "b")
    assert back.split == ("val", "test")
    assert back.pred_probs.dtype == np.float32
    assert np.array_equal(back.pred_probs, PROBS)


@pytest.mark.parametrize(
    ("ids", "probs", "told"),
    [
        (("a", "b"), PROBS * 0.9, r"row 0 \(a\) is no probability"),
        (("a", "b"), np.array([[0.5, 0.5], [np.nan, 1]], np.float32), r"row 1 \(b\)"),
        (("a", "b"), np.array([[0.5, 0.5], [-0.5, 1.5]], np.float32), r"row 1 \(b\)"),
        (("a", "a"), PROBS, "stands twice"),
        (("a",), PROBS, "different lengths"),
    ],
)
def test_L12_what_is_no_distribution_is_refused(
    tmp_path: Path, ids: tuple[str, ...], probs: np.ndarray, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        write_predictions(tmp_path / "a.parquet", Predictions(ids, ("test",) * len(ids), probs))
    assert not list(tmp_path.iterdir())
