"""Checks of a network before its first step, and of what its first step does."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from stages.lib.checks import Check, at_least, at_most
from stages.lib.counters import generator
from stages.lib.fine_tuning import BODY, Tuning, depths, set_trainable, train_mode
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Task


def settled(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """Return the network in evaluation mode; where it has batch norms, a copy of which they know the images.

    Before the first step their running statistics are 0 and 1, which says nothing of what they will do to
    images (B, C, H, W).
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return network.eval()
    copied = copy.deepcopy(network).eval()
    for module in copied.modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.momentum = 1.0
    with torch.no_grad():
        copied(images)
    return copied.eval()


def output_bias(bias: torch.Tensor, log_prior: torch.Tensor) -> Check:
    """Compare the head's bias (K,) with the log prior (K,), up to a constant that softmax does not see."""
    off = (bias.detach() - bias.detach().mean()) - (log_prior - log_prior.mean())
    why = "the first steps should not be spent on learning how common each class is"
    return at_most("output_bias", float(off.abs().max()), 1e-4, why)


def initial_loss(first: float, labels: torch.Tensor, log_prior: torch.Tensor, weights: torch.Tensor) -> Check:
    """Compare the first loss with that of saying the prior: the prior's entropy, when no class weighs more.

    labels (N,); log_prior and loss weights (K,). The bound is 5 % of log K, what a guess among K classes
    costs.
    """
    each = weights[labels]
    expected = float((each * -log_prior[labels]).sum() / each.sum())
    why = f"before the first step the loss must be {expected:.4f}, that of the class prior; it is {first:.4f}"
    return at_most("initial_loss", abs(first - expected), 0.05 * float(np.log(len(log_prior))), why)


def batch_independence(network: nn.Module, images: torch.Tensor) -> Check:
    """Measure how the first sample's logits depend on other samples' pixels, by gradient.

    Both in evaluation mode and in training mode, where batch norms alone stay in evaluation: they mix a batch
    in training by design, and must not when they predict. The value is relative to the gradient on the
    sample's own pixels; a network blind to those fails as well.
    """
    ready = settled(network, images)
    value = max(_mixed(ready.eval(), images), _mixed(_training_but_for_norms(ready), images))
    ready.eval()
    why = "a sample's result must come from its own pixels; a view, reshape or norm over the batch mixes them"
    return at_most("batch_independence", value, 0, why)


def _training_but_for_norms(network: nn.Module) -> nn.Module:
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    return network


def _mixed(network: nn.Module, images: torch.Tensor) -> float:
    inputs = images.clone().requires_grad_(True)
    logits = network(inputs)
    (gradient,) = torch.autograd.grad(logits[0].square().sum(), inputs, materialize_grads=True)
    own, others = float(gradient[0].abs().max()), float(gradient[1:].abs().max()) if len(images) > 1 else 0.0
    return others / own if own > 0 else np.inf


class Louder(nn.Module):
    """A network whose logits are `factor` times as large."""

    def __init__(self, inner: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to logits (B, K)."""
        logits: torch.Tensor = self.inner(images)
        return self.factor * logits


def loss_of_each(network: nn.Module, task: Task, images: torch.Tensor, index: torch.Tensor) -> Check:
    """Compare a batch's loss with the mean of its samples' losses, each taken alone.

    images (B, C, H, W) are those at `index` (B,); the value is relative to the loss. It is for the loss what
    `batch_independence` is for the network: a softmax over the wrong axis, or a sum in place of a mean.
    """
    with torch.no_grad():
        ready = settled(network, images)
        # At the start all images get much the same logits, and then no axis is wrong: they must differ by 1.
        ready = Louder(ready, 1 / max(float(ready(images).std(0).max()), 1e-6)).eval()

    def loss(some: torch.Tensor, at: torch.Tensor) -> float:
        with torch.no_grad():
            return float(task.loss(ready, some, at, generator(images.device, "each")))

    pieces = torch.split(index, 1)
    mass = [float(task.mass(at)) for at in pieces]
    alone = [loss(*one) for one in zip(torch.split(images, 1), pieces, strict=True)]
    mean = sum(share * value for share, value in zip(mass, alone, strict=True)) / sum(mass)
    off = abs(loss(images, index) - mean) / max(abs(mean), 1e-6)
    why = "a batch's loss must be the mean of its samples': the reduction, or an axis, is wrong"
    return at_most("loss_of_each", off, 1e-3, why)


def repeatable_inference(network: nn.Module, images: torch.Tensor) -> Check:
    """Measure how much two passes over images (N, C, H, W) differ: nothing random may be left on."""
    network.eval()
    with torch.no_grad():
        first, second = network(images), network(images)
    why = "predictions must not change from call to call: dropout or augmentation was left on"
    return at_most("repeatable_inference", float((first - second).abs().max()), 0, why)


def learning(network: nn.Module, tuning: Tuning) -> set[str]:
    """Return the names of the parameters that the recipe means to train: all but the body's frozen layers."""
    return {
        name
        for name, depth in depths(network).items()
        if not name.startswith(BODY) or depth >= tuning.frozen_layers
    }


def dead_parameters(
    probes: Sequence[nn.Module], task: Task, images: torch.Tensor, index: torch.Tensor, tuning: Tuning
) -> Check:
    """Count parameters whose gradient on one batch is missing, zero or not finite in every one of `probes`.

    Those are one network before and after its first steps: a residual branch that starts at zero on purpose
    hides the layers in it from the first gradient, not from the second.
    """
    alive: set[str] = set()
    for probe in probes:
        alive |= _with_gradient(copy.deepcopy(probe), task, images, index, tuning)
    why = "a parameter without gradient never learns: frozen, cut off, or behind units that are all dead"
    return at_most("dead_parameters", len(learning(probes[0], tuning) - alive), 0, why)


def _with_gradient(
    probe: nn.Module, task: Task, images: torch.Tensor, index: torch.Tensor, tuning: Tuning
) -> set[str]:
    set_trainable(probe, tuning, body_frozen=False)
    train_mode(probe, tuning)
    probe.zero_grad(set_to_none=True)
    task.loss(probe, images, index, generator(images.device, "gradients")).backward()  # type: ignore[no-untyped-call]
    return {
        name
        for name, parameter in probe.named_parameters()
        if parameter.grad is not None
        and bool(torch.isfinite(parameter.grad).all())
        and bool((parameter.grad != 0).any())
    }


class FirstSteps:
    """A copy of `network` that takes the loop's first steps on `data` as one batch."""

    def __init__(self, network: nn.Module, task: Task, data: TrainingSet, recipe: Recipe) -> None:
        self._before = {name: value.detach().clone() for name, value in network.named_parameters()}
        self._wanted = learning(network, recipe.tuning)
        self._state = LoopState.start(copy.deepcopy(network), recipe)
        self._task, self._data = task, replace(data, sampling=None)
        self._recipe = replace(recipe, phases=(), batch_size=len(data.images))
        self._body_rate = recipe.body_rate

    @property
    def network(self) -> nn.Module:
        """The network after the steps taken so far."""
        return self._state.network

    def go_on(self, steps: int) -> "FirstSteps":
        """Take so many more steps."""
        phases = (*self._recipe.phases, Phase("first", steps, self._body_rate))
        self._recipe = replace(self._recipe, phases=phases)
        fit(self._state, self._task, self._data, self._recipe, label="first steps")
        return self

    def sizes(self) -> list[Check]:
        """Measure how far matrices and kernels moved, as a share of what they were (root mean squares).

        One that starts small on purpose, as a head does, is held against what its shape usually starts at.
        The median is judged: about 0.001 a step is the habit of a training in course (Karpathy), the first
        steps of AdamW are larger.
        """
        ratios = [
            float((new - old).norm()) / max(float(old.norm()), least_norm(name, old))
            for name, old, new in self._changes()
            if old.ndim > 1
        ]
        typical = float(np.median(ratios))
        why = (
            f"a step changed a typical kernel by {typical:.2g} of itself: see learning_rate, or the gradients"
        )
        return [
            at_most("update_ratio", typical, LARGEST_STEP, why),
            at_least("update_ratio_least", typical, SMALLEST_STEP, why),
        ]

    def unmoved(self) -> Check:
        """Count the parameters that no step has reached."""
        still = sum(not bool((new != old).any()) for _, old, new in self._changes())
        why = "steps must reach every parameter: the optimiser holds others, or gradients get lost"
        return at_most("unmoved_parameters", still, 0, why)

    def _changes(self) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
        named = self._state.network.named_parameters()
        return [(name, self._before[name], value.detach()) for name, value in named if name in self._wanted]


def least_norm(name: str, kernel: torch.Tensor) -> float:
    """Return what a kernel's change is held against at least.

    For the head (out, in), which starts small on purpose, what PyTorch draws for its shape: numbers within
    1 / sqrt(in). Beside its own start every step looks large, and where the body is frozen no other is made.
    """
    if name.startswith(BODY):
        return 1e-12
    return float((kernel.numel() / (3 * kernel[0].numel())) ** 0.5)


MORE_STEPS = 2
"""Steps after the first, in which a branch that starts at zero wakes: first its norm moves, then the rest."""

LARGEST_STEP, SMALLEST_STEP = 0.5, 1e-6
"""A kernel half replaced by one step has forgotten its start; one in a million is under float32's precision
after a few thousand steps. The shipped recipe's ratio is about 0.02."""
