"""What is drawn and what is stopped: functions of the study's seed, a trial's index, and finished trials.

A sampler is made anew for each trial from the seed and the trial's index, so that a search that was
interrupted draws what it would have drawn. The first trial is not drawn: it is the params as they stand.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from stages.lib.search_space import Drawn, is_whole

if TYPE_CHECKING:
    from stages.lib.config import Section

HALVING = 3
"""Of so many trials one goes on (Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, ask 3
or 4)."""

RUNGS = 2
"""Halvings on the way to the last epoch: at a ninth and at a third of it."""

WARM_UP = 4
"""The median prunes nothing in the first quarter: the running mean of the weights is still near its start."""


def distributions(space: Mapping[str, Drawn], model: "type[Section]") -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of each key, in the order of their names."""
    return {key: _distribution(drawn, is_whole(model, key)) for key, drawn in sorted(space.items())}


def _distribution(drawn: Drawn, whole: bool) -> BaseDistribution:
    if drawn.choices is not None:
        return CategoricalDistribution(drawn.texts())
    assert drawn.low is not None
    assert drawn.high is not None
    if whole:
        return IntDistribution(int(drawn.low), int(drawn.high), log=drawn.log, step=drawn.step or 1)
    return FloatDistribution(float(drawn.low), float(drawn.high), log=drawn.log)


class AsTheyStand(RandomSampler):
    """Draws nothing: gives the values of params.yaml, as the storage keeps them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(seed=0)
        self._values = values

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value of one key."""
        del study, trial, param_distribution
        return self._values[param_name]


def sampler_of(kind: str, seed: int, index: int, defaults: Mapping[str, Any]) -> BaseSampler:
    """Return the sampler of the trial with this index."""
    if index == 0:
        return AsTheyStand(defaults)
    own = int.from_bytes(hashlib.sha256(json.dumps([seed, index]).encode()).digest()[:4], "big")
    return TPESampler(seed=own) if kind == "tpe" else RandomSampler(seed=own)


class Halving(BasePruner):
    """Successive halving without waiting: at each rung those go on that are in the best third so far.

    Unlike Optuna's, a trial that was killed and trained again counts once.
    """

    def __init__(self, epochs: int) -> None:
        self.rungs = tuple(
            max(1, epochs // HALVING**power) for power in range(RUNGS, 0, -1) if epochs >= HALVING**power
        )

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Say whether to stop."""
        step = trial.last_step
        if step is None or step not in self.rungs:
            return False
        peers = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.state != TrialState.FAIL and step in other.intermediate_values
        ]
        own = trial.intermediate_values[step]
        upwards = study.direction == StudyDirection.MAXIMIZE
        better = sum(value > own if upwards else value < own for value in peers)
        return better >= max(1, len(peers) // HALVING)


def pruner_of(kind: str, epochs: int) -> BasePruner:
    """Return what stops hopeless trials of so many epochs."""
    if kind == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // WARM_UP)
    return Halving(epochs) if kind == "successive_halving" else NopPruner()
