"""A convolutional network that learns most of what it will in few passes, for judging labels out of sample.

After Jordan (2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498): a fixed first layer
that whitens 2 x 2 patches, both signs; pairs of 3 x 3 convolutions with batch normalisation, pooled early;
the largest response over places. Narrower, so that a CPU trains it.
"""

import torch
from torch import nn
from torch.nn import functional

from stages.lib.errors import InputError

PATCH = 2
WHITENED_IMAGES = 2000
"""Images whose patches give the whitening: 12 x 12 numbers from millions of patches are more than settled."""

LEAST_VARIANCE = 5e-4
"""Added to patch variances (pixels have variance 1), so that flat directions are not blown up to noise."""

HEAD_SCALE = 0.3
"""Shrinks the head's first weights: the first predictions are near uniform."""


class Pair(nn.Module):
    """Convolve, halve, convolve."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H // 2, W // 2)."""
        halved = functional.relu(self.norm1(functional.max_pool2d(self.conv1(features), 2)))
        return functional.relu(self.norm2(self.conv2(halved)))


class QuickNet(nn.Module):
    """Whitening (fixed), pairs of convolutions, the maximum over places, a linear head.

    `brief`: compute in bfloat16 where that loses little (autocast); logits are float32 either way.
    """

    kernel: torch.Tensor

    def __init__(self, kernel: torch.Tensor, widths: tuple[int, ...], n_classes: int, *, brief: bool) -> None:
        super().__init__()
        self.register_buffer("kernel", kernel)
        inputs = (len(kernel), *widths[:-1])
        self.pairs = nn.ModuleList(
            [Pair(before, after) for before, after in zip(inputs, widths, strict=True)]
        )
        self.head = nn.Linear(widths[-1], n_classes)
        self.brief = brief

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map normalised images (B, C, H, W) to logits (B, K) float32."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=self.brief):
            features = functional.conv2d(images.contiguous(memory_format=torch.channels_last), self.kernel)
            features = functional.relu(features)
            for pair in self.pairs:
                features = pair(features)
            logits: torch.Tensor = self.head(features.amax((2, 3)))
        return logits.float()


def whitening(images: torch.Tensor) -> torch.Tensor:
    """Return the kernel (2 * 4C, C, 2, 2) that whitens 2 x 2 patches of images (N, C, H, W), both signs."""
    patches = functional.unfold(images[:WHITENED_IMAGES], PATCH).transpose(1, 2).flatten(0, 1).double()
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    scaled = (vectors / torch.sqrt(values.clamp(min=0) + LEAST_VARIANCE)).T.flip(0)
    kernel = scaled.reshape(-1, images.shape[1], PATCH, PATCH).float()
    return torch.cat([kernel, -kernel])


def new_quick_net(
    images: torch.Tensor, widths: tuple[int, ...], n_classes: int, randomness: torch.Generator, *, brief: bool
) -> QuickNet:
    """Build a network for normalised images like `images` (N, C, S, S); InputError if they are too small."""
    side = images.shape[-1]
    least = PATCH - 1 + 2 ** len(widths)
    if side < least:
        raise InputError(
            f"label_noise.widths lists {len(widths)} widths, each halving the image: that needs images of "
            f"{least} pixels at least, these have {side}: list fewer"
        )
    network = QuickNet(whitening(images.cpu()).to(images.device), widths, n_classes, brief=brief)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            drawn = torch.rand(module.weight.shape, generator=randomness) * 2 - 1
            scale = HEAD_SCALE if isinstance(module, nn.Linear) else 1.0
            with torch.no_grad():
                module.weight.copy_(scale * drawn / module.weight[0].numel() ** 0.5)
                if module.bias is not None:
                    module.bias.zero_()
    return network.to(images.device).to(memory_format=torch.channels_last)
