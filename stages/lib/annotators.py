"""What several annotators and a classifier say together: one distribution over classes for each sample.

The model is Dawid & Skene's (1979, "Maximum likelihood estimation of observer error-rates using the EM
algorithm"): every annotator has a confusion matrix, and errs independently of the others given the true
class. The prior of a sample is not the class shares but what a classifier says that never saw it, as in
Raykar et al. (2010, "Learning from crowds", JMLR), raised to a power that is learned with the rest: above 1
the classifier is surer than its own probabilities say, near 0 it has nothing to add.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

PREFIX = "annotator_"
"""Manifest columns of single annotators' labels start with this."""

PSEUDO_VOTES = 1.0
"""Votes added to every row of a confusion matrix, as of an annotator who is right in RIGHT of them."""

RIGHT = 0.8

LEAST_PROBABILITY = 1e-6
"""A classifier's zero is taken for this: one model must not be able to forbid what all people saw."""

POWERS = np.geomspace(0.05, 4, 45)
"""Powers of the classifier that are tried: steps of a tenth."""

MAX_ROUNDS = 200

SETTLED = 1e-4
"""EM ends when no probability of any sample moved more than this."""


@dataclass(frozen=True)
class Consensus:
    """posterior (N, K); confusion (J, K, K), [annotator, true class, said class]; power of the classifier."""

    posterior: Doubles
    confusion: Doubles
    power: float


def vote_shares(votes: Labels, n_classes: int) -> Doubles:
    """Return for each sample the share of its votes that each class got: (N, J) -> (N, K).

    votes are class positions, -1 where an annotator has not looked; a sample without votes gets zeros.
    """
    counts = np.zeros((len(votes), n_classes))
    rows, columns = np.nonzero(votes >= 0)
    np.add.at(counts, (rows, votes[rows, columns]), 1)
    shares: Doubles = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares


def agree(votes: Labels, pred_probs: npt.NDArray[np.floating]) -> Consensus:
    """Join votes (N, J), -1 where there is none, with out-of-sample pred_probs (N, K) by EM."""
    log_model = np.log(np.maximum(pred_probs.astype(np.float64), LEAST_PROBABILITY))
    posterior = _normalised(np.log(vote_shares(votes, pred_probs.shape[1]) + np.exp(log_model)))[0]
    power = 1.0
    for _ in range(MAX_ROUNDS):
        confusion = confusion_matrices(votes, posterior)
        said = log_votes(votes, confusion)
        power = _best_power(log_model, said, power)
        before, posterior = posterior, _normalised(_prior(log_model, power) + said)[0]
        if np.abs(posterior - before).max(initial=0) < SETTLED:
            break
    return Consensus(posterior, confusion_matrices(votes, posterior), power)


def confusion_matrices(votes: Labels, posterior: Doubles) -> Doubles:
    """Return what each annotator says of each true class, rows summing to 1: (J, K, K)."""
    n_classes = posterior.shape[1]
    pseudo = PSEUDO_VOTES * (RIGHT * np.eye(n_classes) + (1 - RIGHT) / n_classes)
    counts = np.stack([pseudo] * votes.shape[1])
    for annotator, column in enumerate(votes.T):
        for said in np.unique(column[column >= 0]):
            counts[annotator, :, said] += posterior[column == said].sum(0)
    shares: Doubles = counts / counts.sum(2, keepdims=True)
    return shares


def log_votes(votes: Labels, confusion: Doubles) -> Doubles:
    """Return the log-likelihood of each sample's votes under each true class: (N, K)."""
    total = np.zeros((len(votes), confusion.shape[1]))
    for column, matrix in zip(votes.T, np.log(confusion), strict=True):
        looked = column >= 0
        total[looked] += matrix.T[column[looked]]
    return total


def _best_power(log_model: Doubles, said: Doubles, power: float) -> float:
    """Return the likeliest of the powers next to `power`, or `power`'s nearest itself: one step a round."""
    at = int(np.abs(np.log(POWERS / power)).argmin())
    near = POWERS[max(0, at - 1) : at + 2]
    likelihoods = [_normalised(_prior(log_model, candidate) + said)[1] for candidate in near]
    return float(near[int(np.argmax(likelihoods))])


def _prior(log_model: Doubles, power: float) -> Doubles:
    scaled = power * log_model
    prior: Doubles = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
    return prior


def _normalised(log_weights: Doubles) -> tuple[Doubles, float]:
    """Return rows as distributions, and the sum of their logarithmic masses."""
    mass = np.logaddexp.reduce(log_weights, axis=1, keepdims=True)
    return np.exp(log_weights - mass), float(mass.sum())


def derived_from(labels: Labels, votes: Labels) -> bool:
    """Say whether given labels (N,), -1 where none, only repeat votes (N, J).

    A label that always is one of the sample's votes is one annotator's column, or a majority made of them:
    counting it as one more opinion would count a vote twice.
    """
    compared = (labels >= 0) & (votes >= 0).any(1)
    return bool((votes[compared] == labels[compared, None]).any(1).all())
