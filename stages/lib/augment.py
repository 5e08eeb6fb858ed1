"""Random views of a batch, made on the device it lives on: every image gets its own small change.

Batch-first functions with a generator, after the manner of KellerJordan/cifar10-airbench; one affine
resampling instead of a chain of them, so that an image is blurred once.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

Padding = Literal["zeros", "border", "reflection"]


@dataclass(frozen=True)
class Augmentation:
    """The largest change of each kind; a change is drawn uniformly between minus and plus it. 0 is none.

    rotation_degrees; shift, as a share of the side; zoom, as a share of the size (also a quarter of it as a
    change of aspect); shear, as a share of the height; flip: mirror half of the images left to right;
    padding: what comes in from outside the image.
    """

    rotation_degrees: float
    shift: float
    zoom: float
    shear: float
    flip: bool
    padding: Padding


def augment(
    images: torch.Tensor,
    how: Augmentation,
    randomness: torch.Generator,
    strength: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return a changed copy of images (B, C, H, W) float in 0 … 1; labels are not touched.

    strength (B,) multiplies each image's magnitudes.
    """
    matrices = affine_matrices(len(images), how, randomness, strength)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, "bilinear", how.padding, align_corners=False)


def affine_matrices(
    n: int, how: Augmentation, randomness: torch.Generator, strength: torch.Tensor | None = None
) -> torch.Tensor:
    """Return n maps (n, 2, 3) from output to input coordinates, where the image spans -1 … 1.

    Every map draws its six numbers whether or not they are used, so that switching one kind off
    leaves the draws of the others as they were. strength (n,) widens what is drawn from; mirroring has none.
    """
    draw = torch.rand((7, n), generator=randomness, device=randomness.device) * 2 - 1
    if strength is not None:
        draw = draw * strength
    angle = draw[0] * math.radians(how.rotation_degrees)
    scale, aspect = torch.exp(draw[1] * how.zoom), torch.exp(draw[2] * how.zoom / 2)
    shift_x, shift_y = draw[3] * 2 * how.shift, draw[4] * 2 * how.shift
    mirror = torch.where((draw[6] < 0) & torch.tensor(how.flip, device=draw.device), -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    top = torch.stack([cos * aspect * mirror, draw[5] * how.shear - sin, shift_x], 1)
    bottom = torch.stack([sin * mirror, cos / aspect, shift_y], 1)
    return torch.stack([top, bottom], 1)
