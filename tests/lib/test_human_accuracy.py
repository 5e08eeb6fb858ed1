import numpy as np
import pytest

from stages.lib.agreement import pair_agreement, vote_counts
from stages.lib.human_accuracy import (
    TRUTH_WEIGHT,
    concentration,
    independent_accuracy,
    one_person,
    pairs_of,
)

K = 10


def classifier(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return calibrated probabilities (n, K) of easy and hard pictures, and truths (n,) drawn from them."""
    sharpness = np.exp(rng.normal(-2.5, 1.5, n))
    probs = rng.standard_gamma(np.repeat(sharpness[:, None], K, 1)) + 1e-6
    probs /= probs.sum(1, keepdims=True)
    return probs, (probs.cumsum(1) > rng.random((n, 1))).argmax(1)


def people(
    n: int, votes: int, seed: int, scatter: float = 0.6, slips: float = 0.02, weight: float = TRUTH_WEIGHT
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return counts (n, K), a classifier's probs (n, K) and one person's true accuracy, by the recipe."""
    rng = np.random.default_rng(seed)
    probs, truth = classifier(rng, n)
    alpha = concentration(scatter, weight) * probs + weight * np.eye(K)[truth]
    shares = rng.standard_gamma(alpha)
    shares = (1 - slips) * shares / shares.sum(1, keepdims=True) + slips / K
    cumulated = shares.cumsum(1)
    cumulated[:, -1] = 1
    said = (cumulated[:, None, :] > rng.random((n, votes, 1))).argmax(2)
    return vote_counts(said, K), probs, float(shares[np.arange(n), truth].mean())


def test_pairs_are_all_ordered_pairs_of_votes_and_weigh_one_a_sample() -> None:
    counts = np.array([[2, 0, 1], [0, 1, 1], [0, 0, 3], [0, 1, 0]])
    pairs = pairs_of(counts)
    found = {
        (int(i), int(j), int(k)): float(w)
        for i, j, k, w in zip(pairs.sample, pairs.one, pairs.other, pairs.weight, strict=True)
    }
    third = pytest.approx(1 / 3)
    assert found == {
        (0, 0, 0): third,
        (0, 0, 2): third,
        (0, 2, 0): third,
        (1, 1, 2): 0.5,
        (1, 2, 1): 0.5,
        (2, 2, 2): 1.0,
    }


@pytest.mark.parametrize("accuracy", [0.6, 0.9, 0.99])
def test_the_naive_accuracy_undoes_agreement_of_independent_errors(accuracy: float) -> None:
    agreement = accuracy**2 + (1 - accuracy) ** 2 / (K - 1)
    assert independent_accuracy(agreement, K) == pytest.approx(accuracy)
    assert independent_accuracy(0.0, K) == pytest.approx(1 / K)


@pytest.mark.parametrize("weight", [1.0, 5.0, 40.0])
@pytest.mark.parametrize("scatter", [0.05, 0.4, 0.9])
def test_any_weight_of_the_truth_explains_the_same_pairs(weight: float, scatter: float) -> None:
    s = concentration(scatter, weight)
    total = s + weight
    assert s * (s + 2 * weight) / (total * (total + 1)) == pytest.approx(scatter)


@pytest.mark.parametrize("votes", [2, 3])
def test_people_who_follow_the_recipe_are_measured_and_the_naive_figure_is_too_high(votes: int) -> None:
    errors, naive = [], []
    for seed in range(6):
        counts, probs, accuracy = people(4000, votes, seed)
        found = one_person(counts, probs, 0.95)
        assert found.interval[0] < accuracy < found.interval[1]
        errors.append(found.accuracy - accuracy)
        naive.append(independent_accuracy(pair_agreement(counts), K) - accuracy)
    assert abs(np.mean(errors)) < 0.003
    assert np.mean(naive) > 0.01


def test_what_was_planted_is_fitted() -> None:
    counts, probs, _ = people(20_000, 2, 1, scatter=0.5, slips=0.05)
    found = one_person(counts, probs, 0.95)
    assert found.slips == pytest.approx(0.05, abs=0.015)
    assert found.scatter == pytest.approx(0.5, abs=0.04)
    assert found.power == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("weight", [2.6, 9.5])
def test_a_truth_that_weighs_half_or_double_stays_inside_the_interval(weight: float) -> None:
    inside = 0
    for seed in range(6):
        counts, probs, accuracy = people(4000, 2, seed, weight=weight)
        low, high = one_person(counts, probs, 0.95).interval
        inside += low <= accuracy <= high
    assert inside == 6


def test_without_a_classifier_slips_alone_are_recovered_and_few_pictures_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, K, 3000)
    said = np.where(rng.random((3000, 2)) < 0.1, rng.integers(0, K, (3000, 2)), truth[:, None])
    counts, even = vote_counts(said, K), np.full((3000, K), 1 / K)
    found = one_person(counts, even, 0.95)
    assert found.interval[0] < (said == truth[:, None]).mean() < found.interval[1] + 0.005
    few = one_person(counts[:100], even[:100], 0.95)
    assert few.interval[1] - few.interval[0] > found.interval[1] - found.interval[0]


def test_samples_with_one_vote_say_nothing_about_agreement() -> None:
    counts, probs, _ = people(500, 2, 3)
    alone = np.zeros_like(counts)
    alone[:, 0] = 1
    both = one_person(np.vstack([counts, alone]), np.vstack([probs, probs]), 0.95)
    assert both == one_person(counts, probs, 0.95)
    assert both.n == 500


@pytest.mark.parametrize("classes", [2, 3])
def test_people_who_always_agree_or_hardly_know_leave_finite_figures(classes: int) -> None:
    even = np.full((40, classes), 1 / classes)
    agree = np.zeros((40, classes), np.int64)
    agree[:, 0] = 2
    for counts in (agree, np.ones((40, classes), np.int64)):
        found = one_person(counts, even, 0.95)
        assert 0 <= found.interval[0] <= found.accuracy <= found.interval[1] <= 1
    assert one_person(agree, even, 0.95).accuracy > 0.97
