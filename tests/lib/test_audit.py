from pathlib import Path

import numpy as np
import pytest

from stages.lib.artifacts import write_csv
from stages.lib.audit import FEWEST, bounds, corrected, read_audit
from stages.lib.errors import InputError
from stages.lib.truth import Truth


def population(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth, given labels and predictions (n,) that both err on the same hard tenth of the images."""
    true = rng.integers(0, 5, n)
    hard = rng.random(n) < 0.2
    slip = (true + 1) % 5

    def said(hard_chance: float, easy_chance: float) -> np.ndarray:
        return np.where(rng.random(n) < np.where(hard, hard_chance, easy_chance), slip, true)

    return true, said(0.5, 0.02), said(0.4, 0.01)


def test_the_interval_covers_the_truth_though_label_errors_and_the_models_are_the_same_ones() -> None:
    rng, held, naive = np.random.default_rng(0), 0, 0
    for repeat in range(200):
        true, given, said = population(1500, rng)
        checked = np.where(np.arange(1500) < 150, true, -1)
        found = corrected(said, given, checked, np.arange(1500), 300, 0.95, repeat)
        assert found is not None
        accuracy = 0.2 * 0.6 + 0.8 * 0.99
        low, high = found["top1_accuracy_ci"]
        held += low <= accuracy <= high
        naive += abs((said == given).mean() - accuracy) < 0.02
    assert held / 200 >= 0.91
    assert naive < 20


def test_where_every_label_is_checked_the_estimate_is_the_accuracy_by_the_checks() -> None:
    true, given, said = population(400, np.random.default_rng(1))
    found = corrected(said, given, true, np.arange(400), 300, 0.95, 0)
    assert found is not None
    assert found["top1_accuracy"] == pytest.approx((said == true).mean())
    assert found["n_wrong_labels"] == (given != true).sum()


def test_labels_as_helpers_make_the_interval_narrower_than_the_checked_images_alone() -> None:
    from stages.lib.intervals import accuracy_interval

    rng = np.random.default_rng(2)
    true = rng.integers(0, 5, 4000)
    said = np.where(rng.random(4000) < 0.3, (true + 1) % 5, true)
    checked = np.where(np.arange(4000) < 200, true, -1)
    found = corrected(said, true, checked, np.arange(4000), 500, 0.95, 0)
    assert found is not None
    low, high = found["top1_accuracy_ci"]
    alone = accuracy_interval(said[:200] == true[:200], np.arange(200), 0.95)
    assert high - low < 0.5 * (alone[1] - alone[0])


def test_too_few_checked_images_give_no_figure_and_bounds_stay_within_0_and_1() -> None:
    labels = np.zeros(100, np.int64)
    checked = np.where(np.arange(100) < FEWEST - 1, 0, -1)
    assert corrected(labels, labels, checked, np.arange(100), 100, 0.95, 0) is None
    assert bounds({"top1_accuracy_ci": [0.9, 0.97]}, [0.01, 0.05]) == [pytest.approx(0.85), 1.0]


def truth() -> Truth:
    names = ("a", "b", "c")
    return Truth(
        names, np.array(["val", "test", "test"]), np.zeros(3, np.int64), np.arange(3), ("cat", "dog")
    )


def test_an_audit_is_read_by_sample_and_unchecked_rows_and_a_missing_file_say_nothing(tmp_path: Path) -> None:
    header = ("sample_id", "label", "who", "when", "note")
    rows = [("b", "cat", "Ada", "", ""), ("c", "", "", "", ""), ("b", "dog", "Ben", "", "")]
    write_csv(tmp_path / "audit.csv", header, rows)
    assert read_audit(tmp_path / "audit.csv", truth()).tolist() == [-1, 1, -1]
    assert read_audit(tmp_path / "none.csv", truth()).tolist() == [-1, -1, -1]


def test_strangers_val_samples_and_unknown_classes_are_all_named(tmp_path: Path) -> None:
    header = ("sample_id", "label", "who", "when", "note")
    rows = [("a", "cat", "", "", ""), ("z", "dog", "", "", ""), ("b", "cow", "", "", "")]
    write_csv(tmp_path / "audit.csv", header, rows)
    with pytest.raises(InputError, match=r"(?s)'a' is no test sample.*'z' is no test sample.*'cow'"):
        read_audit(tmp_path / "audit.csv", truth())
