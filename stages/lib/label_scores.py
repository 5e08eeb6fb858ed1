"""Quality of given labels, issues and suggestions, from probabilities that never saw those labels.

Issues are cleanlab's: confident learning (Northcutt, Jiang & Chuang 2021, "Confident learning: estimating
uncertainty in dataset labels", JAIR). Quality is cleanlab's too, or `odds`: the probability of the given
label against the best other alone, which keeps its order where a network is unsure between many classes.
Classes that cannot be assessed are left out.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stages.lib.annotators import Doubles, Labels
from stages.lib.errors import InputError
from stages.lib.pooling import Floats
from stages.lib.predictions import SUM_TOLERANCE

Mask = npt.NDArray[np.bool_]


class Rules(Protocol):
    """Which of cleanlab's scores and filters is asked for."""

    @property
    def score(self) -> str:
        """Return what label quality means."""
        ...

    @property
    def filter_by(self) -> str:
        """Return which labels count as issues."""
        ...


@dataclass(frozen=True)
class Scores:
    """What was found about N given labels.

    label_quality (N,) float32 in 0...1; suggested (N,) int64 class positions; is_label_issue (N,) bool.
    """

    label_quality: Floats
    suggested: Labels
    is_label_issue: Mask


def check_pred_probs(labels: Labels, pred_probs: Floats) -> None:
    """Raise InputError unless pred_probs (N, K) are distributions over the classes of labels (N,).

    cleanlab answers NaN with "no issues", silently.
    """
    if pred_probs.ndim != 2 or len(pred_probs) != len(labels):
        raise InputError(f"pred_probs: expected shape ({len(labels)}, K), received {pred_probs.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < pred_probs.shape[1]):
        raise InputError(f"labels: expected 0...{pred_probs.shape[1] - 1}, the columns of pred_probs")
    off = ~(np.abs(pred_probs.sum(1) - 1) <= SUM_TOLERANCE)  # a NaN compares False, and so is off
    bad = off | ~np.isfinite(pred_probs).all(1) | (pred_probs < 0).any(1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"pred_probs: {int(bad.sum())} rows are no probability distribution, the first is row {row}: "
            f"sum {pred_probs[row].sum()}, least {pred_probs[row].min()}; expected finite, >= 0, sum 1"
        )


def score_labels(labels: Labels, pred_probs: Floats, assessable: Mask, rules: Rules) -> Scores:
    """Score labels (N,) by out-of-sample pred_probs (N, K); assessable (K,): which classes can be judged."""
    check_pred_probs(labels, pred_probs)
    judged = assessable[labels]
    quality = np.ones(len(labels), np.float32)
    suggested, issue = labels.copy(), np.zeros(len(labels), bool)
    columns = np.flatnonzero(assessable)
    if len(columns) < 2:
        return Scores(quality, suggested, issue)
    own, probabilities = among(labels, pred_probs, assessable)
    quality[judged], issue[judged] = _by_cleanlab(own, probabilities, rules)
    suggested[judged] = columns[probabilities.argmax(1)]
    return Scores(quality, suggested, issue)


def among(labels: Labels, pred_probs: Floats, assessable: Mask) -> tuple[Labels, Floats]:
    """Keep samples and columns of assessable classes: labels (n,) renumbered, and rows that sum to 1 again.

    A row without any mass left says nothing: uniform.
    """
    columns, judged = np.flatnonzero(assessable), assessable[labels]
    padded = pred_probs[np.ix_(judged, columns)].astype(np.float64) + np.finfo(np.float32).tiny
    return np.searchsorted(columns, labels[judged]), padded / padded.sum(1, keepdims=True)


def _by_cleanlab(labels: Labels, pred_probs: Floats, rules: Rules) -> tuple[Floats, Mask]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    if rules.score == "odds":
        quality = odds(labels, pred_probs)
    else:
        quality = get_label_quality_scores(labels, pred_probs, method=rules.score)
    # One process: cleanlab's default forks as many as there are cores.
    issue = find_label_issues(labels, pred_probs, filter_by=rules.filter_by, n_jobs=1)
    return quality.astype(np.float32), issue


def odds(labels: Labels, pred_probs: Floats) -> Floats:
    """Return p / (p + q): p of the given label, q of the best other: (n,) in 0...1, 0.5 where they tie."""
    rows = np.arange(len(labels))
    others = pred_probs.copy()
    others[rows, labels] = 0
    own = pred_probs[rows, labels]
    share: Floats = own / (own + others.max(1))
    return share


def scores_by_consensus(labels: Labels, posterior: Doubles) -> Scores:
    """Score labels (N,) by the posterior (N, K) of annotators and model: an issue is not likeliest."""
    suggested = posterior.argmax(1).astype(np.int64)
    quality = posterior[np.arange(len(labels)), labels].astype(np.float32)
    return Scores(quality, suggested, suggested != labels)


def filled_by_votes(pred_probs: Floats, shares: Doubles, assessable: Mask) -> Doubles:
    """Let vote shares (N, K) speak for the classes that the model cannot judge; rows keep their sum of 1."""
    filled = np.where(assessable, pred_probs.astype(np.float64), 0)
    left = 1 - np.where(assessable, 0, shares).sum(1, keepdims=True)
    filled *= left / np.maximum(filled.sum(1, keepdims=True), np.finfo(np.float32).tiny)
    joined: Doubles = np.where(assessable, filled, shares)
    return joined
