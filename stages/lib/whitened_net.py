"""A plain network that learns small photographs in few epochs: a whitening layer, then pairs of convolutions.

It descends from Page's "How to train your ResNet" (2018) by way of Jordan's "94% on CIFAR-10 in 3.29 seconds
on a single GPU" (arXiv:2404.00498). What it keeps: a first layer that is computed, not learned; pooling
between a pair's two convolutions; batch norm; the maximum over what is left of the picture. What it changes:
norms learn their scale, the head starts and learns as in the other networks, and no kernel starts as the
identity, which gained nothing on CIFAR-10 and made small sets slow to learn.
"""

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from stages.lib.network_names import KERNEL

if TYPE_CHECKING:
    from stages.lib.normalise import Normalisation

LEAST_VARIANCE = 5e-4
"""Added to each direction's variance before its root is taken, lest empty ones be blown up (Jordan's)."""

MOST_IMAGES = 5_000
"""Images that the patches come from, evenly spread: five million patches know their covariance."""

STATISTICS_RATE = 0.4
"""Share of the newest batch in batch norm's running statistics; runs of a few hundred steps cannot wait."""


class Whitening(nn.Conv2d):
    """Principal directions of 2 x 2 patches, each brought to unit deviation, and their negatives.

    The kernels are a buffer: no optimiser sees them. Until `fit` they are the directions of white noise.
    """

    def __init__(self, channels: int) -> None:
        n = channels * KERNEL**2
        super().__init__(channels, 2 * n, KERNEL)
        del self.weight
        self.register_buffer("weight", _with_negatives(torch.eye(n), channels))
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    @torch.no_grad()
    def fit(self, images: torch.Tensor) -> None:
        """Take the kernels from images (N, C, H, W) as the network gets them: normalised, not augmented."""
        channels = images.shape[1]
        patches = functional.unfold(images, KERNEL).transpose(1, 2).reshape(-1, channels * KERNEL**2).double()
        covariance = patches.T @ patches / len(patches)
        variances, directions = torch.linalg.eigh(covariance.cpu())
        scaled = directions.T / (variances[:, None].clamp(min=0) + LEAST_VARIANCE).sqrt()
        self.weight.copy_(_with_negatives(scaled.float(), channels))


def _with_negatives(directions: torch.Tensor, channels: int) -> torch.Tensor:
    kernels = directions.reshape(-1, channels, KERNEL, KERNEL)
    return torch.cat([kernels, -kernels])


class Pair(nn.Module):
    """Two 3 x 3 convolutions, the picture halved between the first and its norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs, momentum=STATISTICS_RATE)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs, momentum=STATISTICS_RATE)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H // 2, W // 2)."""
        inner = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(features), 2)))
        return functional.gelu(self.norm2(self.conv2(inner)))


class WhitenedBody(nn.Module):
    """Images to features: whitening, one pair per width, the maximum over places."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.whitening = Whitening(channels)
        inputs = (2 * channels * KERNEL**2, *widths[:-1])
        self.blocks = nn.ModuleList([Pair(*pair) for pair in zip(inputs, widths, strict=True)])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, widths[-1])."""
        features = functional.gelu(self.whitening(images))
        for block in self.blocks:
            features = block(features)
        return functional.max_pool2d(features, features.shape[2:]).flatten(1)


def initialise_kernels(body: WhitenedBody, randomness: torch.Generator) -> None:
    """Draw every learned kernel as PyTorch's own layers do."""
    for module in body.blocks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=randomness)


def evenly(n: int) -> slice:
    """Return which of n images the first layer is computed from: MOST_IMAGES of them at most."""
    return slice(None, None, max(1, -(-n // MOST_IMAGES)))


def fit_whitening(body: nn.Module, images: torch.Tensor, normalisation: "Normalisation") -> None:
    """Compute the first layer from train images (N, C, H, W) uint8, if the body has such a layer.

    All are put into memory as floats: take the images that `evenly` says.
    """
    if not isinstance(body, WhitenedBody) or not len(images):
        return
    from stages.lib.normalise import normalise

    body.whitening.fit(normalise(images.float() / 255, normalisation))
