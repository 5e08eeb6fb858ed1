"""What a search found: its trials, the winner, and by how much it is ahead of the params as they stand.

The best of many draws flatters itself: part of its lead is luck with these very val images. The lead is
therefore also told by a bootstrap that chooses on the images drawn and judges on those left out (Tsamardinos,
Greasidou and Borboudakis 2018, "Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation", BBC-CV). It takes off the luck with images; luck with seeds it cannot see.
"""

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.artifacts import write_csv
from stages.lib.intervals import Interval, group_sums, paired_intervals, percentile_interval

DRAWS = 2000
"""Resamples: the ends of a 95 % interval are then known to about 5 % of its width."""

CONFIDENCE = 0.95
CELLS_IN_MEMORY = 20_000_000


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished trial: value, and scores (V, S) of val samples and seeds; None where it was stopped early.

    values: what it trained with, by dotted key. reason: why it was stopped.
    """

    index: int
    value: float | None
    scores: np.ndarray | None
    values: Mapping[str, Any]
    epochs: int
    reason: str

    @property
    def state(self) -> str:
        """Complete, or in one word why not."""
        return self.reason.partition(":")[0] or "complete"


@dataclass(frozen=True)
class Lead:
    """How far the winner is ahead of the first trial, in the metric's unit, upwards good; n val samples.

    interval: paired, on the images that chose it. chosen, chosen_interval: where the choice is made on other
    images than it is judged on. expected: the winner's metric so judged.
    """

    difference: float
    interval: Interval
    chosen: float
    chosen_interval: Interval
    expected: float
    n: int

    @property
    def shown(self) -> bool:
        """Whether it is ahead beyond chance, its being chosen allowed for."""
        return self.chosen_interval[0] > 0


def packed(scores: np.ndarray) -> str:
    """Return scores (V, S) as text for a storage."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(scores, "<f4").tobytes())).decode()


def unpacked(text: str, n_seeds: int) -> np.ndarray:
    """Return scores (V, S) float32."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<f4").reshape(-1, n_seeds)


def facts_of(
    values: Mapping[str, Any], scores: np.ndarray | None, epochs: int, reason: str
) -> dict[str, Any]:
    """Return what a storage keeps of a trial."""
    facts: dict[str, Any] = {"values": dict(values), "epochs": epochs, "reason": reason}
    return facts if scores is None else facts | {"scores": packed(scores), "seeds": scores.shape[1]}


def trained(index: int, value: float | None, facts: Mapping[str, Any]) -> Trained:
    """Return a trial from what the storage kept of it; of one that was stopped it also keeps a last value."""
    if facts["reason"]:
        value = None
    scores = unpacked(facts["scores"], facts["seeds"]) if "scores" in facts else None
    return Trained(index, value, scores, facts["values"], facts["epochs"], facts["reason"])


def best(trials: Sequence[Trained], upwards: bool) -> Trained | None:
    """Return the winner; of equals the first, so that params.yaml stays as it is where nothing beats it."""
    complete = [trial for trial in trials if trial.value is not None]
    return min(complete, key=lambda trial: (_cost(trial, upwards), trial.index), default=None)


def _cost(trial: Trained, upwards: bool) -> float:
    assert trial.value is not None
    if math.isnan(trial.value):
        return math.inf
    return -trial.value if upwards else trial.value


def lead(trials: Sequence[Trained], groups: np.ndarray, upwards: bool, seed: int) -> Lead | None:
    """Return the winner's lead; None where it is the first trial, that one has no value, or val is one group.

    groups (V,) int64, 0..G-1: val samples of one group are drawn together.
    """
    complete = [trial for trial in trials if trial.scores is not None]
    winner = best(complete, upwards)
    if winner is None or winner.index == 0 or complete[0].index != 0 or not groups.any():
        return None
    sign = 1.0 if upwards else -1.0
    goodness = sign * np.stack([_mean_over_seeds(trial) for trial in complete], axis=1)
    at = complete.index(winner)
    ahead = (goodness[:, at] - goodness[:, 0])[:, None]
    rng = np.random.default_rng(seed)
    (interval,) = paired_intervals(ahead, groups, DRAWS, CONFIDENCE, rng)
    chosen, expected = _judged_elsewhere(goodness, groups, rng)
    return Lead(
        difference=float(ahead.mean()),
        interval=interval,
        chosen=float(chosen.mean()),
        chosen_interval=percentile_interval(chosen, CONFIDENCE),
        expected=sign * float(expected.mean()),
        n=len(groups),
    )


def _mean_over_seeds(trial: Trained) -> np.ndarray:
    assert trial.scores is not None
    return np.asarray(trial.scores.astype(np.float64).mean(axis=1))


def _judged_elsewhere(
    goodness: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose among the columns of goodness (V, T) on drawn groups, judge on those left out, DRAWS times.

    Return the chosen column's mean less the first one's, and its mean: (draws,) each. Draws that leave
    nothing out are passed over.
    """
    sums = group_sums(goodness, groups)
    sizes = np.bincount(groups).astype(np.float64)
    n_groups = len(sizes)
    step = max(1, CELLS_IN_MEMORY // n_groups)
    ahead, means = [], []
    for start in range(0, DRAWS, step):
        drawn = rng.integers(0, n_groups, (min(step, DRAWS - start), n_groups))
        counts = np.stack([np.bincount(row, minlength=n_groups) for row in drawn]).astype(np.float64)
        left = (counts == 0).astype(np.float64)
        some = left.any(axis=1)
        chosen = ((counts @ sums) / (counts @ sizes)[:, None])[some].argmax(axis=1)
        judged = (left @ sums)[some] / (left @ sizes)[some, None]
        own = judged[np.arange(len(chosen)), chosen]
        ahead.append(own - judged[:, 0])
        means.append(own)
    return np.concatenate(ahead), np.concatenate(means)


def write_trials(path: Path, trials: Sequence[Trained], keys: Sequence[str]) -> None:
    """Write a row a trial: index, state, value, epochs, what it trained with, and why it was stopped."""
    rows = [
        (
            trial.index,
            trial.state,
            "" if trial.value is None else trial.value,
            trial.epochs,
            *(trial.values[key] for key in keys),
            trial.reason,
        )
        for trial in trials
    ]
    write_csv(path, ("trial", "state", "value", "epochs", *keys, "reason"), rows)
