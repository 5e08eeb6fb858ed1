"""Checks of data and network before training: each a pure function that measures one thing and judges it.

They follow Karpathy, A Recipe for Training Neural Networks (2019): know the loss before the first step, start
from the class prior, overfit one batch, compare with a network that sees nothing, let no sample touch
another.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stages.lib.augment import Augmentation, augment
from stages.lib.checks import Check, at_most
from stages.lib.counters import generator
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.optimizers import UpdateRule
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Task, forward


def labels_fit(labels: np.ndarray, n_pixels: int, n_classes: int) -> Check:
    """Count labels (N,) out of range, images without a label, and classes without an image."""
    out_of_range = int(((labels < 0) | (labels >= n_classes)).sum())
    absent = n_classes - len(np.unique(labels[(labels >= 0) & (labels < n_classes)]))
    faults = out_of_range + absent + abs(n_pixels - len(labels))
    why = "every training image needs one label in range, and every class an image to learn from"
    return at_most("labels_fit", faults, 0, why)


def pixels_vary(pixels: np.ndarray) -> Check:
    """Measure the share of train images (N, H, W, C) uint8 that are one flat colour."""
    flat = (pixels.reshape(len(pixels), -1) == pixels.reshape(len(pixels), -1)[:, :1]).all(1)
    why = "images of one flat colour carry nothing; many of them mean that decoding or resizing failed"
    return at_most("pixels_vary", int(flat.sum()) / len(pixels), MOST_FLAT, why)


MOST_FLAT = 0.1
"""A tenth, as `ingest.max_quarantine_fraction`: more is the folder's fault, not a picture's."""


def normalised_train(images: torch.Tensor) -> Check:
    """Measure how far the worst channel of normalised train images (N, C, H, W) is from mean 0, deviation 1.

    A nearly constant channel may have a smaller deviation.
    """
    flat = images.double().transpose(0, 1).flatten(1)
    deviation = flat.std(1, correction=0)
    spread = torch.where(deviation < NEARLY_CONSTANT, 0.0, (deviation - 1).abs())
    why = "the statistics must be those of the train split alone, applied once: no more, no less, not twice"
    return at_most("normalised_train", float(torch.maximum(flat.mean(1).abs(), spread).max()), 1e-3, why)


NEARLY_CONSTANT = 0.5
"""Such a channel was floored at one grey level instead of scaled (normalise.LEAST_STD)."""


def identity_augmentation(images: torch.Tensor, how: Augmentation) -> Check:
    """Measure what an augmentation of no strength does to images (N, C, H, W) in 0 … 1: nothing."""
    none = images.new_zeros(len(images))
    changed = augment(images, how, generator(images.device, "identity"), none)
    why = "training and inference must prepare an image alike but for the random changes"
    return at_most("identity_augmentation", float((changed - images).abs().max()), 1e-4, why)


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


def repeatable_inference(network: nn.Module, images: torch.Tensor) -> Check:
    """Measure how much two passes over images (N, C, H, W) differ: nothing random may be left on."""
    network.eval()
    with torch.no_grad():
        first, second = network(images), network(images)
    why = "predictions must not change from call to call: dropout or augmentation was left on"
    return at_most("repeatable_inference", float((first - second).abs().max()), 0, why)


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
        """Measure the cross-entropy of the batch's true labels (B,).

        They come straight from the data set, not from the task: labels that reach the task in another order
        are learned by heart too, and only this comparison tells.
        """
        logits = forward(self._state.network, self._data.images, self._data.normalisation)
        loss = float(functional.cross_entropy(logits, labels))
        steps = self._recipe.epochs
        why = f"{steps} steps must suffice to know {len(labels)} images by heart: see labels, loss, capacity"
        return at_most("overfit_one_batch", loss, 0.05, why)


def _plain_recipe(batch_size: int, learning_rate: float) -> Recipe:
    """Return a recipe without anything that resists memory: no augmentation, decay or averaging."""
    return Recipe((), batch_size, learning_rate, 0.0, 0.1, 0.0, None, seed=0)


def loss_falls(train_losses: Sequence[float]) -> Check:
    """Compare the last epoch's training loss with the first's in a short run."""
    why = "a few passes must lower the training loss: the learning rate, the optimiser or the data are wrong"
    return at_most("loss_falls", train_losses[-1] / train_losses[0], 0.95, why)
