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
    model = _Model(np.log(np.maximum(pred_probs.astype(np.float64), LEAST_PROBABILITY)))
    shares = vote_shares(votes, pred_probs.shape[1])
    posterior = _normalised(np.log(shares + np.exp(model.log_probs)))[0]
    power = 1.0
    for _ in range(MAX_ROUNDS):
        before = posterior
        said = log_votes(votes, confusion_matrices(votes, posterior))
        power, posterior = model.joined(said, power)
        if np.abs(posterior - before).max(initial=0) < SETTLED:
            break
    return Consensus(np.ascontiguousarray(posterior), confusion_matrices(votes, posterior), power)


class _Model:
    """The classifier as a prior. Columns lie together in memory: there are few, and rows are summed often."""

    def __init__(self, log_probs: Doubles) -> None:
        self.log_probs = np.asfortranarray(log_probs)
        self._masses: dict[float, Doubles] = {}

    def joined(self, said: Doubles, power: float) -> tuple[float, Doubles]:
        """Join with log-likelihoods (N, K) under the likeliest power next to `power`: one step a round."""
        at = int(np.abs(np.log(POWERS / power)).argmin())
        found = [self._under(float(near), said) for near in POWERS[max(0, at - 1) : at + 2]]
        best = int(np.argmax([likelihood for _, _, likelihood in found]))
        return found[best][:2]

    def _under(self, power: float, said: Doubles) -> tuple[float, Doubles, float]:
        """Return power, posterior (N, K), log-likelihood."""
        scaled = power * self.log_probs
        if power not in self._masses:
            self._masses[power] = _normalised(scaled)[1]
        scaled += said
        posterior, mass = _normalised(scaled)
        return power, posterior, float((mass - self._masses[power]).sum())


def confusion_matrices(votes: Labels, posterior: Doubles) -> Doubles:
    """Return what each annotator says of each true class, rows summing to 1: (J, K, K)."""
    n_classes = posterior.shape[1]
    pseudo = PSEUDO_VOTES * (RIGHT * np.eye(n_classes) + (1 - RIGHT) / n_classes)
    counts = np.stack([pseudo] * votes.shape[1])
    for annotator, column in enumerate(votes.T):
        looked = np.flatnonzero(column >= 0)
        said = column[looked]
        for true, weights in enumerate(posterior.T):
            counts[annotator, true] += np.bincount(said, weights[looked], minlength=n_classes)
    shares: Doubles = counts / counts.sum(2, keepdims=True)
    return shares


def log_votes(votes: Labels, confusion: Doubles) -> Doubles:
    """Return the log-likelihood of each sample's votes under each true class: (N, K)."""
    total = np.zeros((confusion.shape[1], len(votes)))
    for column, matrix in zip(votes.T, np.log(confusion), strict=True):
        # -1, nobody looked, is the last column: likelihood 1.
        total += np.hstack([matrix, np.zeros((len(matrix), 1))])[:, column]
    return total.T


def _normalised(log_weights: Doubles) -> tuple[Doubles, Doubles]:
    """Return rows as distributions (N, K), and the logarithm of each row's mass (N,)."""
    highest = log_weights.max(1, keepdims=True)
    grown = np.exp(log_weights - highest)
    mass = grown.sum(1, keepdims=True)
    return grown / mass, (highest + np.log(mass))[:, 0]


def derived_from(labels: Labels, votes: Labels) -> bool:
    """Say whether given labels (N,), -1 where none, only repeat votes (N, J).

    A label that always is one of the sample's votes is one annotator's column, or a majority made of them:
    counting it as one more opinion would count a vote twice.
    """
    compared = (labels >= 0) & (votes >= 0).any(1)
    return bool((votes[compared] == labels[compared, None]).any(1).all())
