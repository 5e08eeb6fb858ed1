"""One temperature that makes confidence mean something, and a threshold that bounds the answered errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib import metrics
from stages.lib.calibration import answered, fit_temperature, sure_temperature, threshold_for, warm


def overconfident(n: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(logits), told as softmax(temperature * logits)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, 4))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in true])
    told = np.exp(temperature * logits)
    return told / told.sum(1, keepdims=True), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_was_applied_is_found(temperature: float) -> None:
    probs, labels = overconfident(20_000, temperature)
    assert fit_temperature(probs, labels) == pytest.approx(temperature, rel=0.05)


def test_a_model_that_is_very_sure_and_often_wrong_is_made_less_sure() -> None:
    labels = np.arange(100) % 4
    said = np.where(np.arange(100) % 5 == 0, (labels + 1) % 4, labels)
    probs = 1e-6 + (1 - 4e-6) * np.eye(4)[said]
    warmed = warm(probs, fit_temperature(probs, labels))
    assert warmed.max(1).mean() == pytest.approx(0.8, abs=0.01)


def test_no_other_temperature_has_a_lower_loss() -> None:
    probs, labels = overconfident(500, 2.0)
    best = fit_temperature(probs, labels)
    least = metrics.log_loss(warm(probs, best), labels)
    losses = [metrics.log_loss(warm(probs, other), labels) for other in np.geomspace(0.05, 20, 200)]
    assert least <= min(losses) + 1e-9


def test_calibration_on_one_half_lowers_the_error_on_the_other() -> None:
    probs, labels = overconfident(4000, 3.0)
    half = slice(0, 2000), slice(2000, None)
    temperature = fit_temperature(probs[half[0]], labels[half[0]])

    def ece(found: np.ndarray) -> float:
        return metrics.ece(metrics.calibration_table(found, labels[half[1]], 15))

    assert ece(warm(probs[half[1]], temperature)) < ece(probs[half[1]]) / 3


def test_one_error_on_val_is_no_reason_to_change_all_confidences() -> None:
    labels = np.arange(190) % 4
    sure = np.random.default_rng(8).uniform(0.98, 0.9999, 190)
    probs = sure[:, None] * np.eye(4)[labels] + (1 - sure[:, None]) / 4
    probs[0] = [0.3, 0.6, 0.05, 0.05]
    assert fit_temperature(probs, labels) < 0.8
    assert sure_temperature(probs, labels) == 1.0


def test_a_calibrated_model_is_left_alone_nineteen_times_in_twenty_and_another_is_not() -> None:
    left = [sure_temperature(*overconfident(300, 1.0, seed)) == 1.0 for seed in range(200)]
    assert 0.9 <= np.mean(left) <= 0.985
    assert sure_temperature(*overconfident(300, 2.0)) > 1.5


def test_without_an_error_on_val_nothing_is_known_and_nothing_is_changed() -> None:
    assert fit_temperature(np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([0, 1])) == 1.0


@given(st.floats(0.05, 20), st.integers(0, 100))
def test_a_temperature_never_changes_the_class_and_keeps_probabilities(temperature: float, seed: int) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(5), 20).astype(np.float32)
    found = warm(probs, temperature)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_array_equal(np.take_along_axis(found, probs.argmax(1)[:, None], 1)[:, 0], found.max(1))


def test_certain_and_impossible_classes_stay_finite() -> None:
    assert np.isfinite(warm(np.array([[1.0, 0.0]], np.float32), 0.05)).all()


@given(st.integers(0, 200), st.floats(0, 0.6))
def test_errors_among_the_answered_stay_within_the_bound_and_no_lower_threshold_does(
    seed: int, bound: float
) -> None:
    rng = np.random.default_rng(seed)
    probs = np.round(rng.dirichlet(np.ones(3), 40), 2)
    labels = rng.integers(0, 3, 40)
    threshold = threshold_for(probs, labels, bound)
    confidence, wrong = probs.max(1), probs.argmax(1) != labels

    def error(lowest: float) -> float:
        kept = confidence >= lowest
        return float(wrong[kept].mean()) if kept.any() else 0.0

    assert error(threshold) <= bound
    assert all(error(lower) > bound for lower in np.unique(confidence) if lower < threshold)


def test_what_is_answered_is_counted() -> None:
    probs, labels = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), np.array([0, 1, 1])
    assert answered(probs, labels, 0.7) == {
        "coverage": pytest.approx(2 / 3),
        "n_answered": 2,
        "top1_accuracy": 1.0,
    }
    assert answered(probs, labels, 1.01) == {"coverage": 0.0, "n_answered": 0, "top1_accuracy": None}
