"""Learning rate, momentum and batch size at one place of a run: where schedule, scaling and phase meet.

Functions of the recipe, the place, and the curves so far: nothing to save, the same after a resume.
"""

from collections.abc import Mapping, Sequence

import torch

from stages.lib.optimizers import set_rates
from stages.lib.recipe import Recipe
from stages.lib.schedule import batch_growth, factor, grown_rate, one_cycle_momentum, scaled_rate

Row = Mapping[str, int | float | str]


def batch_at(recipe: Recipe, epoch: int) -> int:
    """Return the most images a step of this epoch takes."""
    return round(recipe.batch_size * _growth(recipe, epoch))


def set_rates_at(
    optimizer: torch.optim.Optimizer, history: Sequence[Row], recipe: Recipe, epoch: int, share: float
) -> float:
    """Set the rates of the step at `share` (0 to 1) of the epoch, and return the head's."""
    (phase, before), how = recipe.phase_at(epoch), recipe.schedule
    done = _progress(recipe, epoch, share)
    losses = [float(row["val_loss"]) for row in history[before:] if "val_loss" in row]
    at = grown_rate(factor(done, recipe.warmup_fraction, how, losses), _growth(recipe, epoch))
    peak = scaled_rate(
        recipe.learning_rate, recipe.batch_size, recipe.rate_batch or recipe.batch_size, recipe.rate_scaling
    )
    momentum = 0.0
    if how.kind == "one_cycle" and how.momentum_low:
        momentum = one_cycle_momentum(done, recipe.warmup_fraction, recipe.rule.momentum, how.momentum_low)
    set_rates(optimizer, peak * at, phase.body_rate, momentum)
    return peak * at


def _progress(recipe: Recipe, epoch: int, share: float) -> float:
    """Return how much of the phase is done at `share` of `epoch`."""
    phase, before = recipe.phase_at(epoch)
    return (epoch - before + share) / phase.epochs


def _growth(recipe: Recipe, epoch: int) -> float:
    if not recipe.schedule.grow_batch:
        return 1.0
    begun = _progress(recipe, epoch, 0.0)
    return batch_growth(begun, recipe.warmup_fraction, recipe.schedule, recipe.batch_size)
