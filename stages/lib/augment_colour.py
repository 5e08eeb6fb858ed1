"""Colour and tone: brightness, contrast, saturation and hue as one colour matrix an image; and single curves.

The strengths of each picture are tensors (n,); images are (n, C, H, W) float in 0 … 1, C 1 or 3. Grey images
have no saturation and no hue. Names and formulas as in Pillow's ImageEnhance and ImageOps, so that the
published ranges mean the same here.
"""

import math

import torch
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)
"""Rec. 601: what a colour weighs as grey, as in Pillow and in JPEG."""

YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
"""NTSC's luma and two axes of colour: hue is the angle between these two, and turning it keeps the luma."""


def grey(images: torch.Tensor) -> torch.Tensor:
    """Return the luma (n, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor(LUMA)[None, :, None, None]
    return (images * weights).sum(1, keepdim=True)


def hue_matrices(turns: torch.Tensor) -> torch.Tensor:
    """Return matrices (n, 3, 3) that turn every colour around the grey axis by `turns` (n,) of a circle."""
    to_yiq = turns.new_tensor(YIQ)
    cos, sin = torch.cos(turns * 2 * math.pi), torch.sin(turns * 2 * math.pi)
    zero, one = torch.zeros_like(turns), torch.ones_like(turns)
    rows = [torch.stack(row, 1) for row in ((one, zero, zero), (zero, cos, -sin), (zero, sin, cos))]
    back: torch.Tensor = torch.linalg.inv(to_yiq)
    return back @ torch.stack(rows, 1) @ to_yiq


def coloured(
    images: torch.Tensor,
    brightness: torch.Tensor,
    contrast: torch.Tensor,
    saturation: torch.Tensor,
    hue: torch.Tensor,
) -> torch.Tensor:
    """Scale brightness, then the distance from the mean grey, then from each pixel's grey; then turn the hue.

    The first three are factors (n,), 1 leaves the picture; hue in turns, 0 leaves it. All four are linear, so
    that they are one matrix and one cut to 0 … 1, where a chain of filters cuts after each.
    """
    mean = grey(images.mean((2, 3), keepdim=True))[:, 0, 0, 0] * brightness
    offset = (mean * (1 - contrast))[:, None, None, None]
    factor = brightness * contrast
    if images.shape[1] == 1:
        return (images * factor[:, None, None, None] + offset).clamp(0, 1)
    luma = images.new_tensor(LUMA).expand(3, 3)
    saturate = luma + saturation[:, None, None] * (torch.eye(3, device=images.device) - luma)
    matrix = hue_matrices(hue) @ saturate * factor[:, None, None]
    flat = torch.bmm(matrix, images.flatten(2)).view(images.shape)
    return (flat + offset).clamp(0, 1)


def sharpened(images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Move away from (factor above 1) or towards (below) a smoothed copy; the border stays, as in Pillow."""
    channels = images.shape[1]
    kernel = images.new_tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = images.clone()
    inside = functional.conv2d(images, kernel.expand(channels, 1, 3, 3), groups=channels)
    smooth[:, :, 1:-1, 1:-1] = inside
    return torch.lerp(smooth, images, factor[:, None, None, None]).clamp(0, 1)


def posterised(images: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Keep the highest `bits` (n,) of each pixel's eight."""
    step = torch.exp2(8 - bits)[:, None, None, None]
    return torch.floor((images * 255).round() / step) * step / 255


def solarised(images: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """Invert what is at least as bright as `threshold` (n,) in 0 … 1."""
    return torch.where(images >= threshold[:, None, None, None], 1 - images, images)


def autocontrasted(images: torch.Tensor) -> torch.Tensor:
    """Stretch each channel to 0 … 1; a flat channel stays."""
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    stretched = (images - low) / (high - low).clamp(min=1 / 255)
    return torch.where(high > low, stretched, images)


def equalised(images: torch.Tensor) -> torch.Tensor:
    """Flatten each channel's histogram of 256 levels, by Pillow's rule."""
    n, channels, height, width = images.shape
    levels = (images * 255).round().long().reshape(n * channels, -1)
    histogram = torch.zeros((n * channels, 256), device=images.device, dtype=torch.long)
    histogram.scatter_add_(1, levels, torch.ones_like(levels))
    filled = torch.where(histogram > 0, torch.arange(256, device=images.device), -1).amax(1, keepdim=True)
    step = (height * width - histogram.gather(1, filled)) // 255
    below = histogram.cumsum(1) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp(0, 255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return (table.gather(1, levels) / 255).view(n, channels, height, width)
