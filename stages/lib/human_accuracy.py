"""How often one person is right, from independent annotations alone: nobody has told us the truth.

Two people who agree may both be wrong, and they are so on the same pictures. Solving for the accuracy as if
errors fell anywhere (`independent_accuracy`) therefore overstates people. What is estimated here instead:

- Somebody slips, anywhere, with probability e; otherwise they say what can be seen.
- What can be seen differs from picture to picture: the shares of opinions are Dirichlet(s q + a truth), q
  being what a classifier that never learned from these votes thinks of the picture (to a power fitted here),
  so that confusable classes are known. A small s means that errors sit on few pictures.

Pairs of opinions identify e, the power of q, and how much opinions scatter. They do NOT identify a: for any
a >= 1 there is an s that gives every pair of opinions the same probability (expand the second moments: off
the diagonal they are C q_j q_k with C = s (s + 2 a) / ((s + a) (s + a + 1))). a says how much the truth
weighs beside what else can be seen: 1 is a truth no better than one more opinion, infinity a truth that all
see but for errors that fall anywhere. It was chosen on CIFAR-10N, where the truth is known; the interval goes
from half to double of it, and the sampling error of the annotations is added at both ends.

Limits: where most people would name the wrong class, nobody who asks only people can know it (0.7 % of
CIFAR-10H's pictures, worth 0.2 points). People who talk to each other or copy a suggestion are not
independent. Slips are taken to fall evenly on all classes. With two or three classes, and with fewer than
some hundred pictures, there is little to fit: the interval widens, and the shape stays assumed. With more
than two votes a picture the sampling error is overstated (pairs of one picture count as if they were alike).
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

TRUTH_WEIGHT = 5.0
"""a: about 5 recovers CIFAR-10N's accuracy for each pair of its annotators, on either half of 25,000 pictures
(bench/human_baseline.py). Three opinions a picture would identify it, and gave 2.7 there (8,000 pictures),
which puts the accuracy 1.0 point too low: the model is not the world, and therefore it is a range."""

TRUTH_WEIGHTS = (TRUTH_WEIGHT / 2, TRUTH_WEIGHT * 2)

LEAST_PROB = 1e-6
STARTS = (-5.0, -2.5)
"""Logits of e from which the fit starts; it may have two maxima, and the better one is taken."""

BOUNDS = ((-2.0, 3.0), (-9.0, 2.0), (-8.0, 6.0))
"""Of the logarithm of the power, and the logits of e and C."""

STEP = 1e-4


@dataclass(frozen=True)
class Estimate:
    """One person's accuracy with its interval; n samples with two votes or more; what was fitted."""

    accuracy: float
    interval: tuple[float, float]
    n: int
    slips: float
    scatter: float
    power: float


@dataclass(frozen=True)
class Pairs:
    """Pairs of opinions: sample, two classes (M,) int64 and weight (M,); each sample's weights sum to 1."""

    sample: np.ndarray
    one: np.ndarray
    other: np.ndarray
    weight: np.ndarray


def pairs_of(counts: np.ndarray) -> Pairs:
    """Return the pairs of opinions in counts (N, K), each sample with two votes or more."""
    sample, one = np.nonzero(counts)
    n_kinds = np.bincount(sample, minlength=len(counts))
    first = np.concatenate([[0], np.cumsum(n_kinds)[:-1]])
    repeats = n_kinds[sample]
    start = np.repeat(first[sample], repeats)
    within = np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    left, right = np.repeat(np.arange(len(sample)), repeats), start + within
    rows, j, k = sample[left], one[left], one[right]
    n = counts.sum(axis=1)[rows]
    weight = counts[rows, j] * (counts[rows, k] - (j == k)) / (n * (n - 1)).clip(1)
    kept = weight > 0
    return Pairs(rows[kept], j[kept], k[kept], weight[kept])


def independent_accuracy(agreement: float, n_classes: int) -> float:
    """Return the accuracy that explains how often two people agree if errors fell anywhere."""
    inner = (n_classes - 1) * max(n_classes * agreement - 1, 0.0)
    return float((1 + np.sqrt(inner)) / n_classes)


def one_person(counts: np.ndarray, probs: np.ndarray, confidence: float) -> Estimate:
    """Estimate one person's accuracy from counts (N, K) of votes and a classifier's probs (N, K).

    Rows with fewer than two votes are left out; at least one must have two. Without a classifier, give equal
    probabilities: the estimate then rests more on the assumed shape.
    """
    several = counts.sum(axis=1) > 1
    counts, logs = counts[several], np.log(np.clip(probs[several].astype(np.float64), LEAST_PROB, None))
    pairs = pairs_of(counts)
    fitted = _fit(pairs, logs)
    deviate = NormalDist().inv_cdf((1 + confidence) / 2)
    ends = []
    for weight, side in zip(TRUTH_WEIGHTS, (-1, 1), strict=True):
        error = _standard_error(fitted, pairs, logs, weight)
        ends.append(float(_accuracies(fitted, logs, weight).mean() + side * deviate * error))
    return Estimate(
        accuracy=float(_accuracies(fitted, logs, TRUTH_WEIGHT).mean()),
        interval=(max(0.0, ends[0]), min(1.0, ends[1])),
        n=len(counts),
        slips=float(_share(fitted[1])),
        scatter=float(_share(fitted[2])),
        power=float(np.exp(fitted[0])),
    )


def _share(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def _powered(logs: np.ndarray, log_power: float) -> np.ndarray:
    scaled = np.exp(log_power) * logs
    probs = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def _log_likelihood(params: np.ndarray, pairs: Pairs, logs: np.ndarray) -> np.ndarray:
    """Return each sample's mean log probability of its pairs (N,)."""
    probs, slips, scatter = _powered(logs, params[0]), _share(params[1]), _share(params[2])
    one, other = probs[pairs.sample, pairs.one], probs[pairs.sample, pairs.other]
    seen = np.where(pairs.one == pairs.other, one * (1 - scatter * (1 - one)), scatter * one * other)
    even = 1 / logs.shape[1]
    joint = (1 - slips) ** 2 * seen + slips * (1 - slips) * even * (one + other) + (slips * even) ** 2
    return np.bincount(pairs.sample, pairs.weight * np.log(joint), minlength=len(logs))


def _fit(pairs: Pairs, logs: np.ndarray) -> np.ndarray:
    """Return the most likely log power, logit of e, and logit of C (3,)."""
    from scipy.optimize import minimize

    def loss(params: np.ndarray) -> float:
        return -float(_log_likelihood(params, pairs, logs).mean())

    found = [minimize(loss, [0.3, slips, -1.0], method="L-BFGS-B", bounds=BOUNDS) for slips in STARTS]
    return np.asarray(min(found, key=lambda result: result.fun).x)


def concentration(scatter: float, truth_weight: float) -> float:
    """Return the s of Dirichlet(s q + truth_weight) whose pairs differ as often as `scatter` (C) says."""
    half = truth_weight - scatter * (truth_weight + 0.5)
    inner = half**2 + (1 - scatter) * scatter * truth_weight * (truth_weight + 1)
    return float((-half + np.sqrt(inner)) / (1 - scatter))


def _accuracies(params: np.ndarray, logs: np.ndarray, truth_weight: float) -> np.ndarray:
    """Return the expected accuracy of a person on each sample (N,)."""
    probs, slips = _powered(logs, params[0]), _share(params[1])
    s = concentration(_share(params[2]), truth_weight)
    right = (s * (probs**2).sum(axis=1) + truth_weight) / (s + truth_weight)
    return np.asarray((1 - slips) * right + slips / logs.shape[1])


def _standard_error(params: np.ndarray, pairs: Pairs, logs: np.ndarray, truth_weight: float) -> float:
    """Return the standard error of the mean accuracy: by each sample's influence."""

    def moved(of: str, direction: int) -> tuple[np.ndarray, np.ndarray]:
        sides = []
        for side in (-1, 1):
            at = params.copy()
            at[direction] += side * STEP
            value = (
                _accuracies(at, logs, truth_weight) if of == "accuracy" else _log_likelihood(at, pairs, logs)
            )
            sides.append(value)
        return sides[0], sides[1]

    scores = np.stack([np.subtract(*moved("fit", k)[::-1]) / (2 * STEP) for k in range(3)], 1)
    slopes = np.array([np.subtract(*moved("accuracy", k)[::-1]).mean() / (2 * STEP) for k in range(3)])
    # The outer product stands for the curvature: it needs no second differences and is never negative.
    influence = scores @ np.linalg.pinv(scores.T @ scores / len(scores), rcond=1e-8) @ slopes
    each = _accuracies(params, logs, truth_weight)
    return float(np.std(each - each.mean() + influence) / np.sqrt(len(each)))
