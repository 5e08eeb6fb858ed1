"""A short run of the recipe that can go on, and what it knows of images it did not learn from.

It goes on by another phase of the same recipe (warm-up and decay again), so that patience costs steps once:
a run that needed 480 of them has made 480, not 60 and 120 and 240 and 480.
"""

import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stages.lib.augment_mix import Mix
from stages.lib.checks import Check, at_least, at_most
from stages.lib.label_signal import label_signal
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Classification, Held

LEAST_EPOCHS = 2
"""A first and a last one, to see a loss fall."""

CHANCE = 0.002
"""How often labels dealt at random may pass in one attempt: with four doublings, 1 in 100 in all."""


@dataclass(frozen=True)
class Watched:
    """A task whose beliefs about the held-out images (N, K) are kept after each epoch."""

    task: Classification
    held: Held
    looks: list[np.ndarray] = field(default_factory=list)

    def loss(
        self,
        network: nn.Module,
        images: torch.Tensor,
        index: torch.Tensor,
        randomness: torch.Generator,
        mix: Mix | None = None,
    ) -> torch.Tensor:
        """Return the task's loss."""
        return self.task.loss(network, images, index, randomness, mix)

    def mass(self, index: torch.Tensor) -> torch.Tensor | float:
        """Return what the task's mean is divided by."""
        return self.task.mass(index)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Keep what the network believes; the figures are made of it later."""
        self.looks.append(functional.softmax(self.held.logits(network), 1).cpu().numpy())
        return {}


class ShortRun:
    """Training from a copy of `network`, in phases of some steps each."""

    def __init__(
        self, network: nn.Module, task: Classification, data: TrainingSet, recipe: Recipe, held: Held
    ) -> None:
        self._recipe, self._body_rate = replace(recipe, phases=()), recipe.body_rate
        self._data = data
        self.state = LoopState.start(copy.deepcopy(network), recipe)
        self.watched = Watched(task, held)
        self.taken: list[int] = []

    def go_on(self, steps: int, label: str) -> "ShortRun":
        """Train for about `steps` more, in whole epochs."""
        self.taken.append(steps)
        steps_per_epoch = -(-len(self._data.images) // self._recipe.batch_size)
        epochs = max(LEAST_EPOCHS, -(-steps // steps_per_epoch))
        phases = (*self._recipe.phases, Phase("short", epochs, self._body_rate))
        self._recipe = replace(self._recipe, phases=phases)
        fit(self.state, self.watched, self._data, self._recipe, label=label)
        return self

    @property
    def train_losses(self) -> list[float]:
        """Each epoch's mean training loss."""
        return [float(row["train_loss"]) for row in self.state.history]

    @property
    def pred_probs(self) -> np.ndarray:
        """What was believed of the held-out images after each epoch (E, N, K)."""
        return np.stack(self.watched.looks)


def sees_its_input(run: ShortRun, seed: int) -> Check:
    """Measure, in standard errors, how far the predictions fit their own held-out images best.

    A network blind to its input says the same of every image and has none; labels that do not belong to
    their images pass by chance alone.
    """
    labels = run.watched.held.labels.cpu().numpy()
    found = label_signal(run.pred_probs, labels, CHANCE, seed)
    why = (
        f"predictions must fit their own of {len(labels)} held-out images better than the other images': "
        f"labels dealt at random reach the bound with a chance of {found.chance:g}. Images and labels do not "
        "belong together, the network does not look, or it needs more steps"
    )
    return at_least("sees_its_input", found.z, found.chance_bound, why)


def knows_nothing(name: str, run: ShortRun, seed: int, fault: str) -> Check:
    """Measure the same of a run that has nothing to learn from; above chance, labels leak to the network."""
    labels = run.watched.held.labels.cpu().numpy()
    found = label_signal(run.pred_probs, labels, CHANCE, seed)
    why = f"{fault}: what it still knows of held-out labels reaches it by another way than the picture"
    return at_most(name, found.z, max(found.chance_bound, MOST_BY_CHANCE), why)


MOST_BY_CHANCE = 5.0
"""Standard errors; chance passes them once in a million, a leak reaches ten and more."""
