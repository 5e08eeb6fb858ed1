"""Learning-rate range test: raise the rate step by step from far too small to far too large, watch the loss.

Source: Smith, Cyclical Learning Rates for Training Neural Networks (arXiv:1506.01186); the middle of the
longest fall after fast.ai's `valley`, the default of its `lr_find`. A tenth of the rate at the least loss,
the older habit, hangs on the last steps: with norms in the network the loss may fall up to a rate of 1.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from stages.lib.counters import generator
from stages.lib.fine_tuning import set_trainable, train_mode
from stages.lib.loop import TrainingSet, batches_of, mix, prepare
from stages.lib.loop_state import LoopState
from stages.lib.optimizers import set_rates
from stages.lib.recipe import Recipe
from stages.lib.schedule import Schedule
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
    """Train a copy of `network` for up to `steps` steps, the rate growing by the same factor each time.

    The optimiser, the augmentation and what is frozen are the recipe's; its schedule has no say, neither in
    the rate nor in the size of batches. The test may take more epochs than the recipe has.
    """
    recipe = replace(recipe, schedule=Schedule(kind="constant"))
    state = LoopState.start(copy.deepcopy(network), recipe)
    set_trainable(state.network, recipe.tuning, body_frozen=False)
    train_mode(state.network, recipe.tuning)
    device = data.images.device
    rates = np.geomspace(LOWEST, HIGHEST, steps)
    losses: list[float] = []
    mean = 0.0
    for at, rate in enumerate(rates.tolist()):
        index = _batch_at(data, recipe, at).to(device)
        randomness = generator(device, "rate test", recipe.seed, at)
        images, mixture = mix(prepare(data, recipe, index, randomness), recipe, randomness)
        loss = task.loss(state.network, images, index, randomness, mixture)
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
    set_rates(optimizer, rate, body_rate=1.0, momentum=0.0)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def suggest(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return the rate (S,) in the middle of the longest fall of the smoothed loss (S,); 0 when it never fell.

    In the middle on the logarithmic scale: well above where learning begins, well under where it breaks.
    """
    if not len(losses) or losses.min() >= losses[0]:
        return 0.0
    last, length = longest_fall(losses)
    return float(rates[last - length // 2])


def longest_fall(losses: np.ndarray) -> tuple[int, int]:
    """Return where the longest falling subsequence of losses (S,) ends, the first of equals, and its length.

    Counted back from its end, it lies where the loss falls step by step: before, where it only wavers, the
    subsequence has few members.
    """
    length = np.ones(len(losses), np.int64)
    for at in range(1, len(losses)):
        above = length[:at][losses[:at] > losses[at]]
        length[at] = 1 + above.max(initial=0)
    last = int(length.argmax())
    return last, int(length[last])
