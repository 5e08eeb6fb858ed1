"""Checks that take some training: one batch by heart, a loss that falls, capacity that pays."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stages.lib.checks import Check, at_most
from stages.lib.counters import generator
from stages.lib.loop import TrainingSet, fit, prepare
from stages.lib.loop_state import LoopState
from stages.lib.optimizers import UpdateRule
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Task, forward


class Memory:
    """Training on one batch, by the recipe's own optimiser and rate, until it is known by heart."""

    def __init__(
        self, network: nn.Module, task: Task, data: TrainingSet, learning_rate: float, rule: UpdateRule
    ) -> None:
        self._task, self._data = task, replace(data, sampling=None)
        self._recipe = replace(_plain_recipe(len(data.images), learning_rate), rule=rule)
        self._state = LoopState.start(copy.deepcopy(network), self._recipe)

    def go_on(self, steps: int) -> "Memory":
        """Take so many more steps, each on the whole batch."""
        phases = (*self._recipe.phases, Phase("memory", steps, body_rate=1.0))
        self._recipe = replace(self._recipe, phases=phases)
        fit(self._state, self._task, self._data, self._recipe, label="one batch")
        return self

    def check(self, labels: torch.Tensor) -> Check:
        """Measure the larger of two losses: the task's own, and the cross-entropy of the true labels (B,).

        Labels that reach the task in another order are learned by heart too, and only the true ones, straight
        from the data set, tell. A task with a wrong loss may leave the true one small, but not its own.
        """
        data, everything = self._data, torch.arange(len(labels), device=labels.device)
        images = prepare(data, self._recipe, everything, generator(labels.device, "memory"))
        with torch.no_grad():
            network = self._state.network.eval()
            own = float(self._task.loss(network, images, everything, generator(labels.device, "memory")))
        true = float(functional.cross_entropy(forward(network, data.images, data.normalisation), labels))
        steps = self._recipe.epochs
        why = f"{steps} steps must suffice to know {len(labels)} images by heart: see labels, loss, capacity"
        return at_most("overfit_one_batch", max(own, true), 0.05, why)


def _plain_recipe(batch_size: int, learning_rate: float) -> Recipe:
    """Return a recipe without anything that resists memory: no augmentation, decay or averaging."""
    return Recipe((), batch_size, learning_rate, 0.0, 0.1, 0.0, None, seed=0)


def loss_falls(train_losses: Sequence[float]) -> Check:
    """Compare the last epoch's training loss with the first's in a short run."""
    why = "a few passes must lower the training loss: the learning rate, the optimiser or the data are wrong"
    return at_most("loss_falls", train_losses[-1] / train_losses[0], LEAST_FALL, why)


def input_pays(name: str, loss: float, loss_of_blind: float) -> Check:
    """Compare the training loss with that of the same network on pictures that show nothing."""
    why = "with pictures the loss must end lower than without: if not, they do not reach the network"
    return at_most(name, loss / loss_of_blind, LEAST_FALL, why)


LEAST_FALL = 0.95
"""A twentieth less: a loss that is a mean over some hundred images wavers by less."""


def capacity_pays(loss: float, loss_of_narrow: float, n_classes: int) -> Check:
    """Compare the training loss after the same steps with that of a much smaller network, in nats.

    The bound is a tenth of log K, what a guess among K classes costs: both may know all there is, or little.
    """
    why = (
        "more capacity must not learn worse than the smallest network of its kind: the large one is blocked "
        "somewhere, or its learning rate is wrong"
    )
    return at_most("capacity_pays", loss - loss_of_narrow, 0.1 * float(np.log(n_classes)), why)
