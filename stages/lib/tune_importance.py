"""Which searched params mattered: the share of the variance that each explains alone, and whether by chance.

fANOVA (Hutter, Hoos and Leyton-Brown 2014): a forest is fitted from params to values, and its variance taken
apart. A forest finds shares in noise too, so each share is held against those it gets once the values are
shuffled among the trials.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna import create_study
from optuna.distributions import BaseDistribution
from optuna.importance import FanovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial

from stages.lib.artifacts import write_csv

FEWEST = 10
"""Complete trials below which nothing is computed: one trial in ten would decide a share."""

SHUFFLES = 19
"""With 19 the least p-value is 1 in 20, which is the level; each costs a forest (0.1 CPU s at 30 trials)."""

TREES = 32
LEVEL = 0.05


@dataclass(frozen=True)
class Importance:
    """A param's share of the variance of the values over n trials (0 to 1), and its p-value."""

    key: str
    share: float
    p_value: float
    n: int

    @property
    def shown(self) -> bool:
        """Whether it is more than shuffled values give."""
        return self.p_value <= LEVEL


def importances(
    trials: Sequence[FrozenTrial], distributions: Mapping[str, BaseDistribution], seed: int
) -> list[Importance]:
    """Return each param's importance over the complete trials, largest first; none where they tell none."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = np.array([trial.value for trial in complete], np.float64)
    if len(complete) < FEWEST or not np.ptp(values) > 0:
        return []
    drawn = [trial.params for trial in complete]
    found = _shares(drawn, values, distributions, seed)
    rng = np.random.default_rng(seed)
    null = [_shares(drawn, rng.permutation(values), distributions, seed) for _ in range(SHUFFLES)]
    made = [
        Importance(
            key, share, (1 + sum(other[key] >= share for other in null)) / (1 + SHUFFLES), len(complete)
        )
        for key, share in found.items()
    ]
    return sorted(made, key=lambda one: (-one.share, one.key))


def _shares(
    drawn: Sequence[Mapping[str, Any]],
    values: np.ndarray,
    distributions: Mapping[str, BaseDistribution],
    seed: int,
) -> dict[str, float]:
    study = create_study()
    for params, value in zip(drawn, values.tolist(), strict=True):
        study.add_trial(create_trial(params=dict(params), distributions=dict(distributions), value=value))
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
    return {key: float(share) for key, share in evaluator.evaluate(study).items()}


def write_importances(path: Path, found: Sequence[Importance]) -> None:
    """Write a row a param; the header alone where the trials tell nothing."""
    rows = [(one.key, one.share, one.p_value, one.n, one.shown) for one in found]
    write_csv(path, ("param", "share_of_variance", "p_value", "n", "shown"), rows)
