"""What cameras, phones and websites do to a picture: fewer pixels, blur, JPEG.

Each function takes images (n, C, H, W) float in 0 … 1 and one strength a picture. Resizing and blur are two
small matrices an image, rows and columns, because every picture has its own size.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch.nn import functional

from stages.lib.augment_colour import LUMA

BLOCK = 8
"""JPEG's side of a block of pixels."""

HALF = 0.5 + 1e-5
"""libjpeg rounds halves away from zero; floats land beside them."""

LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""How coarsely each frequency is stored at quality 50: ITU-T T.81, table K.1."""

COLOUR_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
"""The same for the two colour channels, table K.2."""

YCBCR = (LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
"""From red, green, blue to luma and the two differences of colour (JFIF 1.02)."""


def resized_rows(side: int, start: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Return matrices (n, side, side) that shrink `side` pixels to `size` (n,) of them, from `start` (n,) on.

    A triangle as wide as one new pixel, as in torch's antialiased bilinear resize; rows outside are 0.
    """
    at = torch.arange(side, device=start.device, dtype=start.dtype)
    scale = side / size
    middle = (at - start[:, None] + 0.5) * scale[:, None]
    away = (at[None, None] + 0.5 - middle[:, :, None]) / scale.clamp(min=1)[:, None, None]
    weights = (1 - away.abs()).clamp(min=0)
    weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-12)
    inside = (at >= start[:, None]) & (at < (start + size)[:, None])
    return weights * inside[:, :, None]


def enlarged_rows(side: int, size: torch.Tensor) -> torch.Tensor:
    """Return matrices (n, side, side) that stretch the first `size` (n,) pixels to all `side` of them."""
    at = torch.arange(side, device=size.device, dtype=size.dtype)
    last = (size - 1)[:, None]
    middle = ((at + 0.5) * (size / side)[:, None] - 0.5).clamp(min=0).minimum(last)
    return (1 - (middle[:, :, None] - at).abs()).clamp(min=0)


def blurred_rows(side: int, sigma: torch.Tensor) -> torch.Tensor:
    """Return matrices (n, side, side) that blur by a Gaussian of `sigma` (n,) pixels; borders mirror."""
    away = torch.arange(2 * side, device=sigma.device)
    bell = torch.exp(-(away**2) / (2 * sigma.clamp(min=1e-3)[:, None] ** 2))
    at = away[:side]
    near, far = (at[:, None] - at).abs(), at[:, None] + at + 1
    weights = bell[:, near] + bell[:, far] + bell[:, 2 * side - far]
    return weights / weights.sum(2, keepdim=True)


def through_rows(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Apply a matrix to the rows (n, H, H) and one to the columns (n, W, W) of each image."""
    n, channels, height, width = images.shape
    # Channels last all along: each product is one matrix an image, and the network's layout is kept.
    tall = torch.bmm(rows, images.permute(0, 2, 3, 1).reshape(n, height, width * channels))
    turned = tall.view(n, height, width, channels).transpose(1, 2).reshape(n, width, height * channels)
    return torch.bmm(columns, turned).view(n, width, height, channels).permute(0, 3, 2, 1)


def downscaled(images: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Shrink the picture to the share `size` (n,) of its side, in whole pixels, and stretch it back."""

    def matrices(side: int) -> torch.Tensor:
        pixels = (size * side).round().clamp(1, side)
        return enlarged_rows(side, pixels) @ resized_rows(side, torch.zeros_like(pixels), pixels)

    return through_rows(images, *_each_side(images, matrices))


def blurred(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Blur by a Gaussian of `sigma` (n,) pixels."""
    return through_rows(images, *_each_side(images, lambda side: blurred_rows(side, sigma)))


def _each_side(
    images: torch.Tensor, matrices: Callable[[int], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrices of the rows and of the columns; square images have one set."""
    height, width = images.shape[2:]
    rows = matrices(height)
    return rows, rows if width == height else matrices(width)


def compressed(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    """Return what is left after JPEG at `quality` (n,) in 1 … 100: 8x8 cosine blocks, libjpeg's rounding.

    Colour is stored at half the resolution (4:2:0), as cameras, phones and Pillow do.
    """
    height, width = images.shape[2:]
    unit = BLOCK if images.shape[1] == 1 else 2 * BLOCK
    padded = functional.pad(images, (0, -width % unit, 0, -height % unit), mode="replicate") * 255
    if images.shape[1] == 1:
        stored = _stored(padded - 128, _steps(LUMA_TABLE, quality)) + 128
    else:
        stored = _stored_in_colour(padded, quality)
    return (stored[:, :, :height, :width].round().clamp(0, 255)) / 255


def _stored_in_colour(images: torch.Tensor, quality: torch.Tensor) -> torch.Tensor:
    to_ycbcr = images.new_tensor(YCBCR)
    ycbcr = torch.matmul(to_ycbcr, images.flatten(2)).view(images.shape).round()
    luma = _stored(ycbcr[:, :1] - 128, _steps(LUMA_TABLE, quality)) + 128
    # libjpeg's mean of four: halves and quarters are rounded down and up in turn, so that none is lost.
    turn = images.new_tensor([0.25, 0.5]).repeat(images.shape[3] // 4)
    small = torch.floor(functional.avg_pool2d(ycbcr[:, 1:], 2) + turn)
    colour = _stored(small, _steps(COLOUR_TABLE, quality))
    large = functional.interpolate(colour, scale_factor=2, mode="bilinear", align_corners=False)
    whole = torch.cat([luma.clamp(0, 255), large], 1)
    return torch.matmul(torch.linalg.inv(to_ycbcr), whole.flatten(2)).view(images.shape)


def _steps(table: tuple[tuple[int, ...], ...], quality: torch.Tensor) -> torch.Tensor:
    """Return each frequency's step (n, 64) at `quality` (n,), by libjpeg's rule."""
    whole = quality.round().clamp(1, 100)
    percent = torch.where(whole < 50, torch.floor(5000 / whole), 200 - 2 * whole)
    base = quality.new_tensor(table).flatten()
    return torch.floor((base * percent[:, None] + 50) / 100).clamp(1, 255)


def _stored(channels: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Round the cosine coefficients of channels (n, C, H, W) to multiples of steps (n, 64), and come back."""
    n, c, height, width = channels.shape
    tall, wide = height // BLOCK, width // BLOCK
    blocks = channels.reshape(n, c, tall, BLOCK, wide, BLOCK).transpose(3, 4).reshape(n, -1, BLOCK**2)
    cosines = _cosines().to(channels)
    levels = (blocks @ cosines.T) / steps[:, None]
    kept = levels.sign() * torch.floor(levels.abs() + HALF) * steps[:, None]
    back = (kept @ cosines).round()
    return back.reshape(n, c, tall, wide, BLOCK, BLOCK).transpose(3, 4).reshape(n, c, height, width)


@lru_cache(maxsize=1)
def _cosines() -> torch.Tensor:
    """Return the orthonormal cosine transform of a block, (64 coefficients, 64 pixels)."""
    at = torch.arange(BLOCK, dtype=torch.float64)
    one = torch.cos(math.pi / BLOCK * (at + 0.5) * at[:, None]) * math.sqrt(2 / BLOCK)
    one[0] /= math.sqrt(2)
    return torch.kron(one, one)
