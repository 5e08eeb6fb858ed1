"""Learning-rate range test: raise the rate step by step from far too small to far too large, watch the loss.

Source: Smith, Cyclical Learning Rates for Training Neural Networks (arXiv:1506.01186); a tenth of the rate at
the least loss as in fast.ai's `lr_find` ("minimum / 10").
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from stages.lib.counters import generator
from stages.lib.loop import TrainingSet, batches_of, prepare
from stages.lib.loop_state import LoopState
from stages.lib.recipe import Recipe
from stages.lib.tasks import Task

LOWEST, HIGHEST = 1e-5, 1.0
SMOOTHING = 0.8
"""Weight of the past in the running mean of the losses: about five steps, half a decade of rates."""

BLOWN_UP = 4.0
"""The test ends when the smoothed loss is so many times the first one: what follows is known."""


@dataclass(frozen=True)
class RateTest:
    """Rates (S,) rising, the smoothed loss (S,) at each, and what they suggest."""

    rates: np.ndarray
    losses: np.ndarray
    suggested: float


def rate_test(network: nn.Module, task: Task, data: TrainingSet, recipe: Recipe, steps: int) -> RateTest:
    """Train a copy of `network` for up to `steps` steps, the rate growing by the same factor each time."""
    state = LoopState.start(copy.deepcopy(network).train(), recipe)
    device = data.images.device
    rates = np.geomspace(LOWEST, HIGHEST, steps)
    losses: list[float] = []
    mean = 0.0
    for at, rate in enumerate(rates.tolist()):
        index = _batch_at(data, recipe, at).to(device)
        randomness = generator(device, "rate test", recipe.seed, at)
        loss = task.loss(state.network, prepare(data, recipe, index, randomness), index, randomness)
        mean = SMOOTHING * mean + (1 - SMOOTHING) * float(loss.detach())
        losses.append(mean / (1 - SMOOTHING ** (at + 1)))
        if not np.isfinite(losses[-1]) or losses[-1] > BLOWN_UP * losses[0]:
            losses.pop()
            break
        _step(state.optimizer, loss, rate)
    found = np.array(losses)
    return RateTest(rates[: len(found)], found, suggest(rates[: len(found)], found))


def _batch_at(data: TrainingSet, recipe: Recipe, step: int) -> torch.Tensor:
    epoch, position = divmod(step, -(-len(data.images) // recipe.batch_size))
    return batches_of(data, recipe, epoch)[position]


def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def suggest(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return a tenth of the rate (S,) at which the smoothed loss (S,) was least; 0 when it never fell."""
    if not len(losses) or losses.min() >= losses[0]:
        return 0.0
    return float(rates[int(losses.argmin())] / 10)
