"""Checks of what reaches the network: labels, pixels, statistics, transforms and the order of samples."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from stages.lib.augment import Augmentation, augment
from stages.lib.checks import Check, at_most
from stages.lib.counters import generator
from stages.lib.loop import TrainingSet, batches_of
from stages.lib.normalise import Normalisation, denormalise
from stages.lib.recipe import Recipe


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


def restated(part: torch.Tensor, brought: Normalisation, own: Normalisation) -> torch.Tensor:
    """Return images (N, C, H, W) normalised by what weights brought as if by the train split's statistics."""
    was, wanted = ([torch.tensor(v).to(part)[:, None, None] for v in (n.mean, n.std)] for n in (brought, own))
    return (part * was[1] + was[0] - wanted[0]) / wanted[1]


def normalised_train(parts: Sequence[torch.Tensor]) -> Check:
    """Measure how far the worst channel of normalised train images is from mean 0, deviation 1.

    parts (n_i, C, H, W) are all train images, some at a time. A nearly constant channel may have a smaller
    deviation.
    """
    n = sum(part[:, 0].numel() for part in parts)
    mean = torch.stack([part.double().sum((0, 2, 3)) for part in parts]).sum(0) / n
    away = [(part.double() - mean[:, None, None]).square().sum((0, 2, 3)) for part in parts]
    deviation = (torch.stack(away).sum(0) / n).sqrt()
    spread = torch.where(deviation < NEARLY_CONSTANT, 0.0, (deviation - 1).abs())
    why = "the statistics must be those of the train split alone, applied once: no more, no less, not twice"
    return at_most("normalised_train", float(torch.maximum(mean.abs(), spread).max()), 1e-3, why)


NEARLY_CONSTANT = 0.5
"""Such a channel was floored at one grey level instead of scaled (normalise.LEAST_STD)."""


def normalised_val(pixels: np.ndarray, train: Normalisation) -> Check:
    """Measure how far val's channels lie from those of train, by whose statistics they are normalised.

    pixels (N, H, W, C) uint8 of val; the value is the worst channel's mean, in deviations of train, less what
    chance explains: MOST_ERRORS standard errors of the mean over images. Val may not have its own statistics,
    so it is not 0; but far away it was prepared differently, or is of another world.
    """
    each = pixels.mean((1, 2), dtype=np.float64) / 255
    means = (each - np.array(train.mean)) / np.array(train.std)
    error = means.std(0) / np.sqrt(len(means)) if len(means) > 1 else np.full(means.shape[1], np.inf)
    beyond = np.maximum(np.abs(means.mean(0)) - MOST_ERRORS * error, 0).max() if len(means) else 0.0
    why = (
        "val must look like train once normalised by train's statistics: it was prepared in another way, or "
        "split by what changes the light"
    )
    return at_most("normalised_val", float(beyond), MOST_SHIFTED, why)


MOST_SHIFTED = 0.5
"""Half a deviation of train's pixels: a channel order or a scale gone wrong shifts by one and more."""


def held_apart(learned: torch.Tensor, held: torch.Tensor) -> Check:
    """Measure the share of held-out images (M, C, H, W) uint8 that are byte for byte among those learned.

    A few copies are `duplicates`' business; many mean that val is part of train.
    """
    known = {image.cpu().numpy().tobytes() for image in learned.contiguous()}
    shared = sum(image.cpu().numpy().tobytes() in known for image in held.contiguous())
    why = "held-out images must not be learned from: the split is broken, or copies lie on both sides of it"
    return at_most("held_apart", shared / len(held), MOST_SHARED, why)


MOST_SHARED = 0.1
"""A tenth: CIFAR-100's test set shares that much with its train set (Barz and Denzler, arXiv:1902.00423)."""


def identity_augmentation(images: torch.Tensor, how: Augmentation) -> Check:
    """Measure what an augmentation of no strength does to images (N, C, H, W) in 0 … 1: nothing."""
    none = images.new_zeros(len(images))
    changed = augment(images, how, generator(images.device, "identity"), none)
    why = "training and inference must prepare an image alike but for the random changes"
    return at_most("identity_augmentation", float((changed - images).abs().max()), 1e-4, why)


def as_decoded(name: str, ready: torch.Tensor, pixels: np.ndarray, train: Normalisation) -> Check:
    """Bring images just before the network (B, C, H, W) back to pixels and compare with the decoded ones.

    pixels (B, H, W, C) uint8; the value is in grey levels of 255. One comparison finds another order of
    images, axes taken for one another, channels swapped, statistics of another split, and scaling that is
    missing or done twice.
    """
    back = denormalise(ready, train).permute(0, 2, 3, 1) * 255
    off = float((back - torch.from_numpy(np.ascontiguousarray(pixels)).to(back)).abs().max())
    why = "the network must get the pictures that were decoded, normalised once by the statistics of train"
    return at_most(name, off, LEVELS_OFF, why)


LEVELS_OFF = 0.05
"""Grey levels: float32 rounding stays under 0.001, a wrong picture is off by tens."""


class Seen:
    """What a network was given while this context was open: its inputs (B, C, H, W), batch after batch."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self.inputs: list[torch.Tensor] = []

    def __enter__(self) -> "Seen":
        """Listen to the network."""
        self._handle = self._network.register_forward_pre_hook(self._keep)
        return self

    def _keep(self, _module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        self.inputs.append(given[0].detach())

    def __exit__(self, *unused: object) -> None:
        """Stop listening."""
        self._handle.remove()


def visits(data: TrainingSet, recipe: Recipe, labels: torch.Tensor) -> Check:
    """Measure whether an epoch visits samples as planned: each once, or each class by its sampling weights.

    Where a plan resamples, the value is the largest distance of a class's draws from its share, in standard
    errors; otherwise how many samples are not visited exactly once. labels (N,).
    """
    order = torch.cat([batch.cpu() for batch in batches_of(data, recipe, 0)])
    n = len(data.images)
    why = "an epoch must visit every sample once, or as often as class_balance's plan says"
    if data.sampling is None:
        return at_most("visits", float((torch.bincount(order, minlength=n) != 1).sum()), 0, why)
    drawn = torch.bincount(labels.cpu()[order]).double()
    share = torch.bincount(labels.cpu(), weights=data.sampling.double()) / data.sampling.double().sum()
    if len(drawn) < len(share):
        drawn = torch.cat([drawn, drawn.new_zeros(len(share) - len(drawn))])
    error = (n * share * (1 - share)).sqrt().clamp(min=1)
    return at_most("visits", float(((drawn - n * share).abs() / error).max()), MOST_ERRORS, why)


MOST_ERRORS = 5.0
"""Standard errors that chance passes once in a million."""
