"""Noise rates: counted as cleanlab counts, and planted rates lie in the interval."""

import numpy as np
import pytest
from cleanlab.count import estimate_joint

from stages.lib.annotators import agree
from stages.lib.noise_rate import by_confidence, by_posterior, confusions, spanning

K = 3


def noisy(n: int, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) of which `rate` are wrong, and probabilities (n, K) of a good model of the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, n)
    labels = np.where(rng.random(n) < rate, (truth + 1) % K, truth)
    logits = 4 * np.eye(K)[truth] + rng.normal(0, 1, (n, K))
    probs = np.exp(logits)
    return labels, (probs / probs.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2])
def test_the_joint_is_cleanlabs(rate: float) -> None:
    labels, probs = noisy(600, rate, 1)
    found = by_confidence(labels, probs, np.random.default_rng(0))
    joint = estimate_joint(labels, probs)
    np.testing.assert_allclose(
        found.matrix / found.matrix.sum(), joint, atol=1e-3
    )  # cleanlab rounds to whole samples
    assert found.rate == pytest.approx(1 - np.trace(joint), abs=2e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_rate_lies_in_the_interval_that_spans_both_views(seed: int) -> None:
    labels, probs = noisy(2000, 0.1, seed)
    alone = by_posterior(labels, agree(labels[:, None], probs).posterior)
    found = spanning(by_confidence(labels, probs, np.random.default_rng(0)), alone)
    assert found.rate == pytest.approx(0.1, abs=0.03)
    assert found.interval[0] - 0.01 <= 0.1 <= found.interval[1] + 0.01
    assert found.interval[0] <= found.rate <= found.interval[1]


def test_the_matrix_names_the_planted_confusion_first() -> None:
    labels, probs = noisy(900, 0.2, 3)
    labels[np.flatnonzero(labels == 0)[::3]] = 2
    rows = confusions(by_confidence(labels, probs, np.random.default_rng(0)).matrix, ["a", "b", "c"])
    assert rows[0][:2] == ("c", "a")
    assert all(row[0] != row[1] for row in rows)
    assert [row[2] for row in rows] == sorted((row[2] for row in rows), reverse=True)


def test_the_posteriors_matrix_keeps_every_given_label() -> None:
    labels = np.array([0, 0, 1])
    posterior = np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0.2, 0.8]])
    found = by_posterior(labels, posterior)
    np.testing.assert_allclose(found.matrix.sum(1), [2, 1, 0])
    assert found.rate == pytest.approx((0.5 + 0.8) / 3)
    assert confusions(found.matrix, ["a", "b", "c"]) == [("b", "c", 0.8, 0.8), ("a", "b", 0.5, 0.25)]
