"""Pictures to change, draws to change them by, and Pillow's view of both."""

import numpy as np
import torch
from PIL import Image

from stages.lib.counters import generator

CPU = torch.device("cpu")


def scenes(n: int = 6, side: int = 32, channels: int = 3) -> torch.Tensor:
    """Return smooth pictures with edges and some grain (n, C, side, side), in whole levels over 255."""
    randomness = generator(CPU, "scenes", n, side, channels)
    coarse = torch.rand((n, channels, 4, 4), generator=randomness)
    smooth = torch.nn.functional.interpolate(coarse, side, mode="bicubic", align_corners=False)
    smooth[:, :, side // 4 : side // 2, side // 4 :] = coarse[:, :, :1, :1]
    grain = torch.randn(smooth.shape, generator=randomness) * 0.02
    return ((smooth + grain).clamp(0, 1) * 255).round() / 255


def draws(rows: int, n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand((rows, n), generator=generator(CPU, "draws", rows, n, seed))


def to_pillow(image: torch.Tensor) -> Image.Image:
    pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def from_pillow(image: Image.Image) -> torch.Tensor:
    pixels = np.array(image)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).float() / 255


def even(n: int, value: float) -> torch.Tensor:
    return torch.full((n,), value)
