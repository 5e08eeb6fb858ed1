"""Hide a part of the picture, so that no single part of it is relied on."""

import torch

from stages.lib.augment_geometry import TRIES, boxes

ERASE_ASPECT = 1 / 0.3
"""Random erasing's longest box, as in its paper."""

BOX_DRAWS = 2 * TRIES + 2
"""Uniform numbers an image that a box takes."""


def box_mask(
    left: torch.Tensor, top: torch.Tensor, width: torch.Tensor, height: torch.Tensor, shape: torch.Size
) -> torch.Tensor:
    """Return the pixels of boxes (n,) given as shares of the side, as (n, 1, H, W) bool; it may hang over.

    Corners are rounded to whole pixels.
    """
    columns = _between(left * shape[3], (left + width) * shape[3], shape[3])
    rows = _between(top * shape[2], (top + height) * shape[2], shape[2])
    return rows[:, None, :, None] & columns[:, None, None, :]


def _between(start: torch.Tensor, end: torch.Tensor, side: int) -> torch.Tensor:
    at = torch.arange(side, device=start.device)
    return (at >= start.round()[:, None]) & (at < end.round()[:, None])


def erasing_mask(draw: torch.Tensor, area: tuple[float, float], shape: torch.Size) -> torch.Tensor:
    """Return a box a picture (n, 1, H, W) bool: random erasing (Zhong et al., arXiv:1708.04896).

    Its share of the picture is uniform between the two bounds. draw (BOX_DRAWS, n) uniform in 0 … 1.
    """
    least, most = (torch.full_like(draw[0], bound) for bound in area)
    return box_mask(*boxes(draw, (least, most), ERASE_ASPECT), shape)


def cutout_mask(draw: torch.Tensor, side: float, strength: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return a square a picture (n, 1, H, W) bool: cutout (DeVries & Taylor, arXiv:1708.04552).

    Its middle is any point of the picture, so that a part may hang over the edge, as there. draw (2, n).
    """
    size = side * strength
    return box_mask(draw[0] - size / 2, draw[1] - size / 2, size, size, shape)


def hidden(images: torch.Tensor, mask: torch.Tensor, noise: torch.Tensor | None) -> torch.Tensor:
    """Replace the mask's pixels (n, 1, H, W) by noise (n, C, H, W), or by each picture's own mean colour."""
    fill = images.mean((2, 3), keepdim=True) if noise is None else noise
    return torch.where(mask, fill, images)
