"""Several members' probabilities as one: means, and weights that val taught.

- mean: of probabilities, every member alike.
- geometric: of log-probabilities, made to sum to 1. The softmax of mean logits is the same thing: a member's
  logits are its log-probabilities but for a number that is alike in all classes.
- weighted: a weighted mean whose log loss on val is least (a concave problem; EM climbs to its one top).
- greedy: members added one at a time, with replacement, each time the one that helps val most (Caruana et al.
  2004, Ensemble selection from libraries of models).
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from stages.lib import metrics

Kind = Literal["mean", "geometric", "weighted", "greedy"]
Soup = Literal["soup", "greedy_soup"]
"""One network instead of several predictions: the mean of all weights, or of some members' (lib/soup.py)."""

FLOOR = float(np.finfo(np.float32).tiny)
EM_STEPS = 500
GREEDY_STEPS = 20
"""Members that greedy selection draws at most: weights in twentieths."""


def combine(parts: np.ndarray, weights: np.ndarray, geometric: bool) -> np.ndarray:
    """Return (N, K) float64 from parts (S, N, K): the weighted mean, weights (S,) summing to 1."""
    if not geometric:
        return np.asarray(np.tensordot(weights, parts.astype(np.float64), 1))
    logs = np.tensordot(weights, np.log(np.maximum(parts.astype(np.float64), FLOOR)), 1)
    powers = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def learned_weights(kind: Kind, parts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the weights (S,) of a kind, learned from parts (S, N, K) and labels (N,) where it learns."""
    if kind == "weighted":
        return em_weights(parts, labels)
    if kind == "greedy":
        return greedy_weights(parts, labels)
    return np.full(len(parts), 1 / len(parts))


def em_weights(parts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the weights (S,) of the mean of probabilities with the least log loss."""
    given = np.maximum(parts[:, np.arange(len(labels)), labels].astype(np.float64), FLOOR)
    weights = np.full(len(parts), 1 / len(parts))
    for _ in range(EM_STEPS):
        shares = weights[:, None] * given
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return np.asarray(weights)


def greedy_weights(parts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how often (S,), as a share, each member was chosen; the best number of steps is kept."""
    total = np.zeros(parts.shape[1:])
    counts = np.zeros(len(parts))
    best, kept = np.inf, counts
    for step in range(1, GREEDY_STEPS + 1):
        losses = [metrics.log_loss((total + part) / step, labels) for part in parts]
        chosen = int(np.argmin(losses))
        total = total + parts[chosen]
        counts[chosen] += 1
        if losses[chosen] < best:
            best, kept = losses[chosen], counts / step
    return kept


def diversity(parts: np.ndarray, labels: np.ndarray) -> dict[str, float | None] | None:
    """Return how members (S, N, K) differ on samples (N,); None with fewer than two members or no sample.

    disagreement: share of samples for which two members name different classes; both_wrong: share that two
    members both miss, which no mean can mend; both are means over pairs. spread: mean Kullback-Leibler
    divergence of a member from the mean of all, in nats. q_statistic (Yule) and kappa (Cohen, beyond chance)
    say how far two members are right on the same samples: 1 always, 0 independently; None where nobody errs
    (Kuncheva and Whitaker 2003, Measures of diversity in classifier ensembles).
    """
    if len(parts) < 2 or not len(labels):
        return None
    said = parts.argmax(axis=2)
    wrong = said != labels
    pairs = [(a, b) for a in range(len(parts)) for b in range(a)]
    logs = np.log(np.maximum(parts.astype(np.float64), FLOOR))
    mean = np.log(np.maximum(parts.astype(np.float64).mean(axis=0), FLOOR))
    return {
        "disagreement": float(np.mean([np.mean(said[a] != said[b]) for a, b in pairs])),
        "both_wrong": float(np.mean([np.mean(wrong[a] & wrong[b]) for a, b in pairs])),
        "spread": float((parts * (logs - mean)).sum(axis=2).mean()),
        "q_statistic": _mean_of(_q_statistic(~wrong[a], ~wrong[b]) for a, b in pairs),
        "kappa": _mean_of(_kappa(~wrong[a], ~wrong[b]) for a, b in pairs),
    }


def _mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of what is defined, None where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _q_statistic(a: np.ndarray, b: np.ndarray) -> float | None:
    alike, apart = float((a & b).sum() * (~a & ~b).sum()), float((a & ~b).sum() * (~a & b).sum())
    return None if alike + apart == 0 else (alike - apart) / (alike + apart)


def _kappa(a: np.ndarray, b: np.ndarray) -> float | None:
    expected = float(a.mean() * b.mean() + (~a).mean() * (~b).mean())
    return None if expected == 1 else (float((a == b).mean()) - expected) / (1 - expected)
