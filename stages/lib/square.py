"""Bring decoded pixels to the stored form: one square size, and grey where nothing but grey is in them."""

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

Fit = Literal["pad", "crop", "stretch"]
"""pad: all of the picture, bars beside it. crop: the central square. stretch: all of it, shape not kept."""


def fit_square(pixels: np.ndarray, side: int, fit: Fit, background: tuple[int, int, int]) -> np.ndarray:
    """Resample (H, W) or (H, W, 3) uint8 to (side, side[, 3]); bicubic, averaging where it shrinks."""
    from PIL import Image

    height, width = pixels.shape[:2]
    if width == height == side:
        return pixels
    image = Image.fromarray(pixels)
    if fit == "pad":
        return _padded(image, side, background)
    shorter = min(width, height)
    left, top = ((width - shorter) / 2, (height - shorter) / 2) if fit == "crop" else (0, 0)
    box = (left, top, width - left, height - top)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box))


def _padded(image: "Image.Image", side: int, background: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.BICUBIC)
    if small.mode == "L" and len(set(background)) == 1:
        square = Image.new("L", (side, side), background[0])
    else:
        square = Image.new("RGB", (side, side), background)
    square.paste(small, ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(square)


def without_needless_colour(pixels: np.ndarray) -> np.ndarray:
    """Give (H, W) where all three channels agree in every pixel: exports often store grey as RGB."""
    if pixels.ndim == 3 and (pixels == pixels[..., :1]).all():
        return np.ascontiguousarray(pixels[..., 0])
    return pixels
