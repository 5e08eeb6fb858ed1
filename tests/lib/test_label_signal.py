"""The permutation test finds what is there, finds nothing where nothing is, and is not misled."""

import numpy as np
import pytest

from stages.lib.label_signal import label_signal, largest_gain, standard_errors

CHANCE = 0.01


def random_probs(rng: np.random.Generator, looks: int, n: int, k: int) -> np.ndarray:
    return rng.dirichlet(np.ones(k), (looks, n)).astype(np.float32)


def knowing(rng: np.random.Generator, n: int, k: int, power: float) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.integers(0, k, n)
    logits = rng.normal(size=(1, n, k))
    logits[0, np.arange(n), labels] += power
    probs = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    return probs, labels


def test_the_standard_error_is_that_of_random_deals() -> None:
    rng = np.random.default_rng(0)
    probs, labels = random_probs(rng, 3, 20, 4), rng.integers(0, 3, 20)
    gains = probs - probs.mean(1, keepdims=True)
    one = np.ones(1)
    dealt = [
        [largest_gain(gains[[look]], rng.permutation(labels), one) for look in range(3)] for _ in range(8000)
    ]
    np.testing.assert_allclose(standard_errors(gains, labels), np.std(dealt, axis=0), rtol=0.04)


def test_chance_passes_no_more_often_than_it_says_however_many_looks_there_are() -> None:
    rng = np.random.default_rng(1)
    passed = 0
    for trial in range(200):
        probs, labels = random_probs(rng, 12, 25, 5), rng.integers(0, 5, 25)
        found = label_signal(probs, labels, 0.05, trial)
        passed += found.z > found.chance_bound
    assert passed / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


@pytest.mark.parametrize(("n", "k", "power"), [(30, 3, 1.5), (140, 18, 1.0), (1000, 10, 0.3)])
def test_predictions_that_know_a_little_are_found(n: int, k: int, power: float) -> None:
    found = label_signal(*knowing(np.random.default_rng(2), n, k, power), CHANCE, 0)
    assert found.z > found.chance_bound


def test_a_blind_prediction_has_no_signal_even_through_rounding() -> None:
    rng = np.random.default_rng(3)
    probs = np.full((2, 40, 3), 1 / 3) + rng.normal(size=(2, 40, 3)) * 1e-8
    found = label_signal(probs, rng.integers(0, 3, 40), CHANCE, 0)
    assert abs(found.z) < 0.1
    alike = label_signal(np.full((2, 40, 3), 1 / 3), rng.integers(0, 3, 40), CHANCE, 0)
    assert alike.z < 1e-6 < alike.chance_bound


def test_other_class_shares_and_too_much_confidence_do_not_hide_what_is_known() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 60)
    probs = np.zeros((1, 60, 3))
    probs[0, np.arange(60), labels] = 0.15
    probs[0, :, 2] += 0.5
    probs[0, :15] = [0.0, 0.0, 1.0]
    probs /= probs.sum(2, keepdims=True)
    assert np.log(np.maximum(probs[0, np.arange(60), labels], 1e-12)).mean() < np.log(0.5)
    found = label_signal(probs, labels, CHANCE, 0)
    assert found.z > found.chance_bound
