import numpy as np
import pytest

from stages.lib import metrics
from stages.lib.gap_interval import gap_interval
from stages.lib.intervals import bootstrap_sums


def interval_of(confidence: np.ndarray, correct: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    table = np.zeros((len(confidence), 15))
    table[np.arange(len(confidence)), metrics.even_bins(confidence, 15)] = confidence - correct
    drawn = bootstrap_sums(table, 400, rng) / len(table)
    return gap_interval(table.mean(axis=0), drawn, 0.95)


@pytest.mark.parametrize("slope", [1.0, 0.85, 0.7])
def test_the_interval_covers_the_error_of_calibrated_and_of_boastful_models(slope: float) -> None:
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        confidence = rng.uniform(0.2, 1.0, 500)
        correct = rng.random(500) < slope * confidence
        low, high = interval_of(confidence, correct, rng)
        held += low <= (1 - slope) * 0.6 <= high
    assert held / 200 >= 0.91


def test_a_calibrated_models_interval_mostly_starts_at_zero_and_a_boastful_ones_never() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.2, 1.0, 1000)
    honest = [interval_of(confidence, rng.random(1000) < confidence, rng)[0] for _ in range(40)]
    boastful = [interval_of(confidence, rng.random(1000) < 0.7 * confidence, rng)[0] for _ in range(10)]
    assert np.mean(np.array(honest) == 0) > 0.85
    assert min(boastful) > 0.1


def test_gaps_without_any_noise_are_what_they_are() -> None:
    gaps = np.array([0.1, -0.05, 0.0])
    low, high = gap_interval(gaps, np.tile(gaps, (50, 1)), 0.95)
    assert (low, high) == pytest.approx((0.15, 0.15), abs=1e-6)
    assert gap_interval(np.zeros(3), np.zeros((50, 3)), 0.95) == (0.0, 0.0)
