"""The linear model of label_noise: its promised minimum, targets as shares, slices, absent classes."""

import numpy as np
import pytest

from stages.lib import linear_fold
from stages.lib.linear_fold import fit, predict_fold


def blobs(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) float32 of very unequal spread, and targets (n, classes)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    mixed = rng.normal(size=(classes, d))[labels] + rng.normal(size=(n, d)) @ rng.normal(size=(d, d))
    return (mixed * np.geomspace(0.01, 100, d)).astype(np.float32), np.eye(classes)[labels]


def slope(features: np.ndarray, targets: np.ndarray, l2: float) -> np.ndarray:
    """Gradient of the mean loss by weights on standardised features, at what was fitted, in float64."""
    model = fit(features, targets, l2)
    mean, spread = features.astype(np.float64).mean(0), features.astype(np.float64).std(0)
    logits = features.astype(np.float64) @ model.weights + model.bias
    probs = np.exp(logits - logits.max(1, keepdims=True))
    probs = probs / probs.sum(1, keepdims=True) * targets.sum(1, keepdims=True)
    standard = (features - mean) / spread
    penalty = l2 * model.weights * spread[:, None]
    return np.asarray(standard.T @ (probs - targets) / targets.sum() + penalty)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_penalised_loss_is_at_its_minimum(classes: int) -> None:
    features, targets = blobs(400, 12, classes)
    assert np.abs(slope(features, targets, 0.1)).max() < 1e-3


def test_targets_may_be_shares_and_rows_may_count_for_nothing() -> None:
    features, targets = blobs(300, 6, 3)
    shares = 0.6 * targets + 0.1
    shares[::5] = 0
    assert np.abs(slope(features, shares, 0.03)).max() < 1e-3
    kept = shares.sum(1) > 0
    whole, part = fit(features, shares, 0.03).predict(features), fit(features[kept], shares[kept], 0.03)
    # Standardised by other rows, the penalty weighs a little differently.
    np.testing.assert_allclose(whole, part.predict(features), atol=0.03)


def test_slices_change_nothing_but_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = blobs(500, 8, 4)
    whole = fit(features, targets, 0.1).predict(features)
    monkeypatch.setattr(linear_fold, "SLICE_NUMBERS", 8 * 17)
    np.testing.assert_allclose(fit(features, targets, 0.1).predict(features), whole, atol=1e-3)


def test_an_absent_class_gets_no_probability_and_the_rest_sums_to_one() -> None:
    features, targets = blobs(200, 5, 3)
    targets = np.insert(targets, 1, 0, axis=1)
    probs, converged = predict_fold(features[:150], targets[:150], features[150:], 0.1)
    assert converged
    assert (probs[:, 1] == 0).all()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)


def test_the_same_input_gives_the_same_bytes() -> None:
    features, targets = blobs(200, 5, 3)
    one, two = (predict_fold(features, targets, features, 0.1)[0] for _ in range(2))
    assert one.tobytes() == two.tobytes()
