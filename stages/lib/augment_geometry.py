"""Where each pixel of a changed picture comes from: turned, moved, scaled, cropped, mirrored.

Everything but the whole-pixel crop is one affine map an image, so that an image is resampled, and blurred,
once. The whole-pixel crop copies pixels and blurs nothing (KellerJordan/cifar10-airbench's translation).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

Padding = Literal["zeros", "border", "reflection"]

TRIES = 10
"""Boxes drawn before the whole picture is taken, as in torchvision's RandomResizedCrop."""


@dataclass(frozen=True)
class Maps:
    """Bounds of the affine maps; lib/augment.py says what each means."""

    rotation_degrees: float
    shift: float
    zoom: float
    aspect: float
    shear: float
    flip: bool

    @property
    def resamples(self) -> bool:
        """Whether any map can fall between pixels; a mirror image alone does not."""
        return any((self.rotation_degrees, self.shift, self.zoom, self.aspect, self.shear))


def affine_matrices(draw: torch.Tensor, how: Maps, strength: torch.Tensor | None) -> torch.Tensor:
    """Return n maps (n, 2, 3) from output to input coordinates, where the image spans -1 … 1.

    draw (7, n) uniform in 0 … 1, one row a kind, so that switching one kind off leaves the others' draws.
    """
    even = draw * 2 - 1 if strength is None else (draw * 2 - 1) * strength
    angle = even[0] * math.radians(how.rotation_degrees)
    scale, aspect = torch.exp(even[1] * how.zoom), torch.exp(even[2] * how.aspect)
    shift_x, shift_y = even[3] * 2 * how.shift, even[4] * 2 * how.shift
    mirror = torch.where(mirrored(draw[6], how, strength), -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    top = torch.stack([cos * aspect * mirror, even[5] * how.shear - sin, shift_x], 1)
    bottom = torch.stack([sin * mirror, cos / aspect, shift_y], 1)
    return torch.stack([top, bottom], 1)


def mirrored(draw: torch.Tensor, how: Maps, strength: torch.Tensor | None) -> torch.Tensor:
    """Return which images (n,) bool are mirrored: half of them; where strength is below 1, fewer."""
    half = 0.5 if strength is None else 0.5 * strength.clamp(max=1)
    return (draw < half) & torch.tensor(how.flip, device=draw.device)


def boxes(
    draw: torch.Tensor, area: tuple[torch.Tensor, torch.Tensor], most_aspect: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return boxes inside the picture: left, top, width, height (n,), as shares of its side.

    Their area is uniform between the two bounds (n,), the logarithm of width over height uniform between
    ±log most_aspect; a box that is too long is drawn again, and after TRIES it is a square.
    draw (2 TRIES + 2, n) uniform in 0 … 1.
    """
    least, most = area
    areas = least + draw[:TRIES] * (most - least)
    ratio = torch.exp((draw[TRIES : 2 * TRIES] * 2 - 1) * math.log(most_aspect))
    width, height = torch.sqrt(areas * ratio), torch.sqrt(areas / ratio)
    fits = (width <= 1) & (height <= 1)
    first = torch.cat([fits, torch.ones_like(fits[:1])]).to(torch.uint8).argmax(0, keepdim=True)
    square = torch.sqrt(areas[-1:])
    width = torch.cat([width, square]).gather(0, first)[0]
    height = torch.cat([height, square]).gather(0, first)[0]
    return draw[-2] * (1 - width), draw[-1] * (1 - height), width, height


def cropped(
    matrices: torch.Tensor, draw: torch.Tensor, min_area: float, strength: torch.Tensor | None
) -> torch.Tensor:
    """Let maps (n, 2, 3) see only a random box of the picture (Szegedy et al., arXiv:1409.4842, section 6).

    Aspect 3/4 … 4/3 as there. Strength scales how much may be cut away.
    """
    cut = torch.full_like(draw[0], 1 - min_area)
    least = 1 - (cut if strength is None else (cut * strength).clamp(max=0.99))
    left, top, width, height = boxes(draw, (least, torch.ones_like(least)), CROP_ASPECT)
    size = torch.stack([width, height], 1)
    middle = torch.stack([2 * left + width - 1, 2 * top + height - 1], 1)
    placed = matrices * size[:, :, None]
    placed[:, :, 2] += middle
    return placed


CROP_ASPECT = 4 / 3


def resampled(images: torch.Tensor, matrices: torch.Tensor, padding: Padding) -> torch.Tensor:
    """Return images (n, C, H, W) seen through their maps (n, 2, 3), bilinearly."""
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, "bilinear", padding, align_corners=False)


def moved(images: torch.Tensor, right: torch.Tensor, down: torch.Tensor, padding: Padding) -> torch.Tensor:
    """Return images (n, C, H, W) moved by whole pixels (n,) int64: no interpolation, no blur."""
    height, width = images.shape[2:]
    rows, row_seen = _sources(height, down, padding)
    columns, column_seen = _sources(width, right, padding)
    n = torch.arange(len(images), device=images.device)[:, None, None]
    # Channels last: the gather then copies whole pixels, and the network's layout is kept.
    taken = images.permute(0, 2, 3, 1)[n, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if padding != "zeros":
        return taken
    return taken * (row_seen[:, None, :, None] & column_seen[:, None, None, :])


def _sources(side: int, move: torch.Tensor, padding: Padding) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each output position its input position (n, side), and whether that lies inside."""
    at = torch.arange(side, device=move.device) - move[:, None]
    seen = (at >= 0) & (at < side)
    if padding == "reflection" and side > 1:
        at = at.abs()
        at = torch.where(at >= side, 2 * (side - 1) - at, at)
    return at.clamp(0, side - 1), seen
