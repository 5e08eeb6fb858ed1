"""Pixels to numbers around zero and back, by statistics of the train split that travel with the weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

LEAST_STD = 1 / 255
"""One grey level: a channel that hardly varies is centred, not blown up."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each channel, in units of full scale (0 black, 1 white)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def fit_normalisation(pixels: np.ndarray) -> Normalisation:
    """Return the statistics of `pixels` (N, H, W, C) uint8; exact, because sums of integers are."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    counts = np.stack([np.bincount(channel, minlength=256) for channel in flat.T])
    levels = np.arange(256) / 255
    mean = counts @ levels / len(flat)
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / len(flat)
    std = np.maximum(np.sqrt(variance), LEAST_STD)
    return Normalisation(tuple(float(value) for value in mean), tuple(float(value) for value in std))


def normalise(images: "torch.Tensor", normalisation: Normalisation) -> "torch.Tensor":
    """Map images (B, C, H, W) in 0 … 1 to zero mean and unit deviation per channel."""
    mean, std = _columns(images, normalisation)
    return (images - mean) / std


def denormalise(images: "torch.Tensor", normalisation: Normalisation) -> "torch.Tensor":
    """Undo `normalise`, for looking at what the network sees."""
    mean, std = _columns(images, normalisation)
    return images * std + mean


def _columns(images: "torch.Tensor", normalisation: Normalisation) -> "tuple[torch.Tensor, torch.Tensor]":
    shape = (1, -1, 1, 1)
    return (
        images.new_tensor(normalisation.mean).view(shape),
        images.new_tensor(normalisation.std).view(shape),
    )
