"""Checks of a network before its first step, and of what its first step does."""

import copy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from stages.lib.checks import Check, at_least, at_most
from stages.lib.counters import generator
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Task


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
    """Measure how the first sample's logits depend on other samples' pixels, by gradient, in evaluation mode.

    Evaluation mode, because batch normalisation mixes a batch in training by design and must not when it
    predicts. The value is relative to the gradient on the sample's own pixels; a network blind to those fails
    as well.
    """
    network.eval()
    inputs = images.clone().requires_grad_(True)
    logits = network(inputs)
    (gradient,) = torch.autograd.grad(logits[0].square().sum(), inputs, materialize_grads=True)
    own, others = float(gradient[0].abs().max()), float(gradient[1:].abs().max()) if len(images) > 1 else 0.0
    why = "a sample's result must come from its own pixels; a view, reshape or norm over the batch mixes them"
    return at_most("batch_independence", others / own if own > 0 else np.inf, 0, why)


def repeatable_inference(network: nn.Module, images: torch.Tensor) -> Check:
    """Measure how much two passes over images (N, C, H, W) differ: nothing random may be left on."""
    network.eval()
    with torch.no_grad():
        first, second = network(images), network(images)
    why = "predictions must not change from call to call: dropout or augmentation was left on"
    return at_most("repeatable_inference", float((first - second).abs().max()), 0, why)


def dead_parameters(network: nn.Module, task: Task, images: torch.Tensor, index: torch.Tensor) -> Check:
    """Count parameters whose gradient on one batch is missing, all zero or not finite."""
    probe = copy.deepcopy(network).train()
    probe.zero_grad(set_to_none=True)
    task.loss(probe, images, index, generator(images.device, "gradients")).backward()  # type: ignore[no-untyped-call]
    alive = [
        parameter.grad is not None
        and bool(torch.isfinite(parameter.grad).all())
        and bool((parameter.grad != 0).any())
        for parameter in probe.parameters()
    ]
    why = "a parameter without gradient never learns: frozen, cut off, or behind units that are all dead"
    return at_most("dead_parameters", alive.count(False), 0, why)


@dataclass(frozen=True)
class Activations:
    """Name, root mean square and share of dead channels of every module that gives maps (B, C, H, W)."""

    names: tuple[str, ...]
    size: tuple[float, ...]
    dead: tuple[float, ...]


def activations(network: nn.Module, images: torch.Tensor) -> Activations:
    """Run images (B, C, H, W) through the network; a channel that is the same everywhere is dead."""
    found: dict[str, tuple[float, float]] = {}

    def listen(name: str) -> object:
        def keep(_module: nn.Module, _given: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4:
                flat = output.detach().float().transpose(0, 1).flatten(1)
                dead = (flat.amax(1) - flat.amin(1) <= CONSTANT).float().mean()
                found[name] = float(flat.square().mean().sqrt()), float(dead)

        return keep

    modules = [(name, module) for name, module in network.named_modules() if name]
    handles = [module.register_forward_hook(listen(name)) for name, module in modules]
    with torch.no_grad():
        network.eval()(images)
    for handle in handles:
        handle.remove()
    return Activations(tuple(found), *(tuple(pair[at] for pair in found.values()) for at in (0, 1)))


CONSTANT = 1e-6
"""Below this a map's largest and smallest number are rounding apart."""


def activation_checks(prefix: str, found: Activations) -> list[Check]:
    """Judge how large the maps are and how many channels are dead, at the worst module."""
    size = np.array(found.size or (1.0,))
    bad = ~np.isfinite(size) | (size <= 0)
    off = float("inf") if bad.any() else float(np.abs(np.log10(size)).max())
    at = int(np.argmax(np.where(bad, np.inf, np.abs(np.log10(np.where(bad, 1.0, size))))))
    worst = int(np.argmax(found.dead or (0.0,)))
    where = found.names or ("none",)
    return [
        at_most(
            f"{prefix}activation_size",
            off,
            MOST_DECADES,
            f"decades away from 1, largest in {where[at]}: signals that explode or vanish do not train",
        ),
        at_most(
            f"{prefix}dead_channels",
            max(found.dead, default=0.0),
            MOST_DEAD,
            f"share of channels that say the same of every image, largest in {where[worst]}: units that "
            "are dead stay so",
        ),
    ]


MOST_DECADES = 3.0
"""A thousand times larger or smaller than one; healthy networks of ours stay within one decade."""

MOST_DEAD = 0.5
"""Half of a layer; at the start healthy networks of ours have none or a few."""


def first_step(network: nn.Module, task: Task, data: TrainingSet, recipe: Recipe) -> list[Check]:
    """Take the loop's first step, on `data` as one batch, and measure how far each parameter moved.

    The ratio is that of a matrix's or kernel's change to its size (root mean squares), at the median: about
    0.001 is the habit for a training in course (Karpathy), the first steps of AdamW are larger.
    """
    state = LoopState.start(copy.deepcopy(network), recipe)
    one = replace(recipe, phases=(Phase("first", 1, body_rate=1.0),), batch_size=len(data.images))
    before = [value.detach().clone() for value in state.network.parameters()]
    fit(state, task, replace(data, sampling=None), one, label="first step")
    after = [value.detach() for value in state.network.parameters()]
    pairs = list(zip(before, after, strict=True))
    still = sum(not bool((new != old).any()) for old, new in pairs)
    ratios = [float((new - old).norm() / old.norm().clamp(min=1e-12)) for old, new in pairs if old.ndim > 1]
    typical = float(np.median(ratios))
    unmoved = "a step must reach every parameter: the optimiser holds others, or gradients get lost"
    size = f"a step changed a typical kernel by {typical:.2g} of itself: see learning_rate, or the gradients"
    return [
        at_most("unmoved_parameters", still, 0, unmoved),
        at_most("update_ratio", typical, LARGEST_STEP, size),
        at_least("update_ratio_least", typical, SMALLEST_STEP, size),
    ]


LARGEST_STEP, SMALLEST_STEP = 0.5, 1e-6
"""A kernel half replaced by one step has forgotten its start; one in a million is under float32's precision
after a few thousand steps. The shipped recipe's ratio is about 0.02."""
