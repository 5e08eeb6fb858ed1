"""Annotators and model joined: planted annotators are recovered, and each says what it is worth."""

import numpy as np
import pytest
from cleanlab.multiannotator import get_label_quality_multiannotator
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stages.lib.annotators import agree, confusion_matrices, derived_from, log_votes, vote_shares

K = 4
ACCURACIES = (0.9, 0.75, 0.55)


def planted(n: int, seed: int, model: float = 0.7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True classes (n,), votes (n, 3) of annotators with ACCURACIES, and a calibrated model's (n, K)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, n)
    votes = np.stack([said(truth, right, rng) for right in ACCURACIES], axis=1)
    probs = np.full((n, K), (1 - model) / (K - 1))
    probs[np.arange(n), said(truth, model, rng)] = model
    return truth, votes, probs


def said(truth: np.ndarray, right: float, rng: np.random.Generator) -> np.ndarray:
    wrong = (truth + rng.integers(1, K, len(truth))) % K
    return np.where(rng.random(len(truth)) < right, truth, wrong)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_planted_confusion_matrices_come_back(seed: int) -> None:
    _, votes, probs = planted(4000, seed)
    found = agree(votes, probs).confusion.diagonal(axis1=1, axis2=2)
    np.testing.assert_allclose(found, np.repeat(np.array(ACCURACIES)[:, None], K, axis=1), atol=0.05)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_consensus_beats_majority_best_annotator_model_and_crowdlab(seed: int) -> None:
    truth, votes, probs = planted(4000, seed)
    ours = (agree(votes, probs).posterior.argmax(1) == truth).mean()
    majority = (vote_shares(votes, K).argmax(1) == truth).mean()
    reference = get_label_quality_multiannotator(votes, probs, verbose=False)["label_quality"]
    assert ours > majority + 0.03
    assert ours > max(ACCURACIES)
    assert ours > (probs.argmax(1) == truth).mean() + 0.1
    assert ours >= (reference["consensus_label"] == truth).mean() - 0.002


def test_the_posterior_is_calibrated_where_the_model_of_errors_is_true() -> None:
    truth, votes, probs = planted(8000, 5)
    found = agree(votes, probs)
    assert found.posterior.max(1).mean() == pytest.approx(
        (found.posterior.argmax(1) == truth).mean(), abs=0.01
    )
    assert found.power == pytest.approx(1, abs=0.2)


def test_a_model_that_says_nothing_gets_no_say_and_an_overcautious_one_gets_more() -> None:
    truth, votes, probs = planted(4000, 3)
    rng = np.random.default_rng(0)
    nonsense = rng.dirichlet(np.ones(K), len(truth))
    timid = np.sqrt(probs) / np.sqrt(probs).sum(1, keepdims=True)
    assert agree(votes, nonsense).power < 0.15
    assert agree(votes, timid).power == pytest.approx(2, abs=0.4)


def test_missing_votes_are_no_votes() -> None:
    truth, votes, probs = planted(4000, 4)
    votes[np.random.default_rng(1).random(votes.shape) < 0.5] = -1
    found = agree(votes, probs)
    alone = (votes < 0).all(1)
    np.testing.assert_array_equal(found.posterior[alone].argmax(1), probs[alone].argmax(1))
    assert (found.posterior.argmax(1) == truth).mean() > 0.8
    np.testing.assert_allclose(found.confusion.diagonal(axis1=1, axis2=2).mean(1), ACCURACIES, atol=0.06)


@given(arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.integers(-1, K - 1)))
@settings(max_examples=40, deadline=None)
def test_whatever_the_votes_the_answers_are_distributions(votes: np.ndarray) -> None:
    found = agree(votes, np.full((len(votes), K), 1 / K, np.float32))
    np.testing.assert_allclose(found.posterior.sum(1), 1)
    np.testing.assert_allclose(found.confusion.sum(2), 1)
    assert found.confusion.min() > 0
    shares = vote_shares(votes, K)
    np.testing.assert_allclose(shares.sum(1), (votes >= 0).any(1))


def test_the_order_of_annotators_and_of_samples_does_not_matter() -> None:
    _, votes, probs = planted(300, 7)
    turn = np.random.default_rng(0).permutation(300)
    one, other = agree(votes, probs), agree(votes[turn][:, ::-1], probs[turn])
    np.testing.assert_allclose(other.posterior, one.posterior[turn], atol=1e-9)


def test_log_votes_is_the_plain_sum() -> None:
    votes = np.array([[0, -1], [2, 1], [-1, -1]])
    confusion = confusion_matrices(votes, vote_shares(votes, 3) + 1e-3)
    plain = [
        [sum(np.log(confusion[j, k, v]) for j, v in enumerate(row) if v >= 0) for k in range(3)]
        for row in votes
    ]
    np.testing.assert_allclose(log_votes(votes, confusion), plain)


def test_a_label_that_repeats_votes_is_derived_and_an_independent_one_is_not() -> None:
    truth, votes, _ = planted(200, 8)
    majority = vote_shares(votes, K).argmax(1)
    assert derived_from(majority, votes)
    assert derived_from(np.where(np.arange(200) < 9, -1, votes[:, 1]), votes)
    assert not derived_from(truth, votes)


def test_counts_and_likelihoods_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(3)
    votes, posterior = rng.integers(-1, K, (50, 2)), rng.dirichlet(np.ones(K), 50)
    counts = np.stack([0.8 * np.eye(K) + 0.2 / K] * 2)
    for row, said_by in enumerate(votes):
        for annotator, vote in enumerate(said_by):
            if vote >= 0:
                counts[annotator, :, vote] += posterior[row]
    confusion = confusion_matrices(votes, posterior)
    np.testing.assert_allclose(confusion, counts / counts.sum(2, keepdims=True))
    likelihood = [
        [sum(np.log(confusion[j, true, v]) for j, v in enumerate(row) if v >= 0) for true in range(K)]
        for row in votes
    ]
    np.testing.assert_allclose(log_votes(votes, confusion), likelihood)
