from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.class_balance import (
    Params,
    augmentation_strengths,
    count_classes,
    effective_number,
    imbalance_ratio,
    loss_weights,
    plan,
    run,
    sampling_weights,
)
from stages.lib.artifacts import read_csv, read_json, write_table

COUNTS = st.lists(st.integers(1, 10_000), min_size=1, max_size=8).map(lambda n: np.array(n, float))
BETAS = st.sampled_from([0.0, 0.5, 0.9, 0.999, 0.9999])
STRATEGIES = ("none", "oversample", "undersample", "sqrt", "weights", "augment")


def params(strategy: Any) -> Params:
    return Params(strategy=strategy, effective_number_beta=0.999, augment_max_strength=2.0)


@given(COUNTS, BETAS)
def test_the_effective_number_is_cui_s_formula(n: np.ndarray, beta: float) -> None:
    np.testing.assert_allclose(effective_number(n, beta), (1 - beta**n) / (1 - beta), rtol=1e-6)


@given(COUNTS, st.sampled_from([0.5, 0.9, 0.999]))
def test_the_effective_number_lies_between_one_and_the_count(n: np.ndarray, beta: float) -> None:
    found = effective_number(n, beta)
    assert (found >= 1 - 1e-9).all()
    assert (found <= n + 1e-6).all()


@given(COUNTS)
def test_oversampling_draws_every_class_as_often_as_the_largest(n: np.ndarray) -> None:
    np.testing.assert_allclose(sampling_weights(n, "oversample") * n, n.max())


@given(COUNTS)
def test_undersampling_draws_every_class_as_often_as_the_smallest(n: np.ndarray) -> None:
    np.testing.assert_allclose(sampling_weights(n, "undersample") * n, n.min())


@given(COUNTS)
def test_the_square_root_halves_the_imbalance_on_a_log_scale(n: np.ndarray) -> None:
    drawn = sampling_weights(n, "sqrt") * n
    np.testing.assert_allclose(np.log(imbalance_ratio(drawn)), np.log(imbalance_ratio(n)) / 2, atol=1e-9)


@given(COUNTS, BETAS)
def test_loss_weights_average_one_and_never_favour_the_larger_class(n: np.ndarray, beta: float) -> None:
    weights = loss_weights(n, "weights", beta)
    assert np.isclose((weights * n).sum() / n.sum(), 1)
    assert (np.diff(weights[np.argsort(n)]) <= 1e-9).all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_strategy_changes_draws_or_losses_never_both(strategy: str) -> None:
    entries = plan({"a": 10, "b": 1000}, params(strategy))["classes"].values()
    draws = {entry["sampling_weight"] for entry in entries}
    losses = {entry["loss_weight"] for entry in entries}
    assert draws == {1.0} or losses == {1.0}
    assert (draws == losses == {1.0}) == (strategy == "none")


@given(COUNTS)
def test_augment_draws_like_oversample_and_augments_the_rarer_class_more(n: np.ndarray) -> None:
    np.testing.assert_array_equal(sampling_weights(n, "augment"), sampling_weights(n, "oversample"))
    strength = augmentation_strengths(n, "augment", most=2.0)
    assert (strength[n == n.max()] == 1).all()
    assert (np.diff(strength[np.argsort(n)]) <= 1e-12).all()
    assert strength.max() <= 2
    uncapped = augmentation_strengths(n, "augment", most=np.inf)
    np.testing.assert_allclose(uncapped**6, n.max() / n)
    assert (augmentation_strengths(n, "oversample", most=2.0) == 1).all()


def test_only_kept_labelled_samples_count() -> None:
    labels = ["b", "a", None, "a", "a", "c"]
    statuses = ["keep", "relabel", "keep", "drop", "neutral", "keep"]
    assert list(count_classes(labels, statuses).items()) == [("a", 1), ("b", 1), ("c", 1)]


def test_l13_an_imbalance_of_100000_to_1_gives_finite_weights() -> None:
    for strategy in STRATEGIES:
        entries = plan({"rare": 1, "usual": 100_000}, params(strategy))["classes"].values()
        keys = ("sampling_weight", "loss_weight", "augmentation_strength", "effective_number")
        assert all(0 < entry[key] < np.inf for entry in entries for key in keys)


@pytest.mark.parametrize("labels", [["=a", "<b>", "NA", "=a"], []])
def test_the_files_say_what_was_counted(labels: list[str], tmp_path: Path) -> None:
    """No labelled sample at all is no error here: validate and split name it."""
    table = {"label": pa.array(labels, pa.string()), "status": pa.array(["keep"] * len(labels), pa.string())}
    write_table(tmp_path / "samples.parquet", pa.table(table))
    metrics = run(params("sqrt"), curate=tmp_path, out=tmp_path / "out")
    written = read_json(tmp_path / "out" / "plan.json")
    rows = read_csv(tmp_path / "out" / "counts.csv")
    counted = {row["class"]: int(row["n"]) for row in rows}
    for row in rows:
        assert 1 <= float(row["effective_number"]) <= int(row["n"])
    assert counted == {name: entry["n"] for name, entry in written["classes"].items()}
    assert counted == {name: labels.count(name) for name in set(labels)}
    assert metrics["n"] == len(labels)
    assert written["imbalance_ratio"] == (2.0 if labels else 1.0)
