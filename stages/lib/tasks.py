"""What is learned: each task turns a prepared batch into a loss, and the whole val set into figures.

The loop (lib/loop.py) knows none of them: it hands over images (B, C, H, W), augmented and normalised, and
their positions in the training set, and steps on the loss that comes back.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stages.lib.augment_mix import Mix
from stages.lib.counters import generator
from stages.lib.followed import probs_of_label
from stages.lib.normalise import Normalisation, normalise
from stages.lib.stepping import in_chunks_that_fit

CHUNK = 512
"""Images per forward pass outside training; fixed, because another chunking may round differently."""


class Task(Protocol):
    """One way of learning."""

    def loss(
        self,
        network: nn.Module,
        images: torch.Tensor,
        index: torch.Tensor,
        randomness: torch.Generator,
        mix: Mix | None = None,
    ) -> torch.Tensor:
        """Return the batch's mean loss (a scalar); `index` (B,) are positions in the training set.

        `mix` says which other sample of the batch was mixed into each image, None that none was.
        """
        ...

    def mass(self, index: torch.Tensor) -> torch.Tensor | float:
        """Return what that mean is divided by: the number of samples, or the sum of their weights."""
        ...

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return figures of the whole val set, never of a smoothed batch; empty when there is none."""
        ...


@dataclass(frozen=True)
class Held:
    """Samples that are looked at but not learned from: images (N, C, H, W) uint8, labels (N,) int64."""

    images: torch.Tensor
    labels: torch.Tensor
    normalisation: Normalisation

    def logits(self, network: nn.Module) -> torch.Tensor:
        """Return the network's logits (N, K) without augmentation."""
        return forward(network, self.images, self.normalisation)


def forward(network: nn.Module, images: torch.Tensor, normalisation: Normalisation) -> torch.Tensor:
    """Run a network over images (N, C, H, W) uint8 in chunks, in evaluation mode, without gradients.

    The images may lie elsewhere than the network; the result is where the network is.
    """
    network.eval()
    device = next(network.parameters()).device

    def look(chunk: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network(normalise(chunk.to(device).float() / 255, normalisation))
        return found

    with torch.no_grad():
        return in_chunks_that_fit(look, images, CHUNK)


def as_images(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
    """View pixels (N, H, W, C) uint8 as (N, C, H, W) on the device: channels_last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2)


def classification_figures(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Return the mean cross-entropy and the accuracy of logits (N, K) against labels (N,)."""
    right = int((logits.argmax(1) == labels).sum())
    loss = functional.cross_entropy(logits, labels, reduction="sum")
    return {"val_loss": float(loss) / len(labels), "val_top1_accuracy": right / len(labels)}


@dataclass(frozen=True)
class Classification:
    """Labels as targets: labels (N,) int64 of the training set, loss_weights (K,) per class.

    label_smoothing spreads that share of the target evenly over all classes (Szegedy et al.,
    arXiv:1512.00567). soft (N, K): distributions that stand in for the labels. followed: positions in val of
    images whose probability of their label is a figure of its own.
    """

    labels: torch.Tensor
    loss_weights: torch.Tensor
    label_smoothing: float
    val: Held | None
    soft: torch.Tensor | None = None
    followed: tuple[int, ...] = ()

    def loss(
        self,
        network: nn.Module,
        images: torch.Tensor,
        index: torch.Tensor,
        randomness: torch.Generator,
        mix: Mix | None = None,
    ) -> torch.Tensor:
        """Return the weighted cross-entropy, of mixed images with mixed targets.

        Labels are averaged over the sum of their weights, soft targets over the number of samples.
        """
        del randomness
        logits = network(images)
        targets = self.labels[index] if self.soft is None else self.soft[index]
        if mix is None:
            return self._loss_of(logits, targets, "mean")
        total = mix.loss(lambda given: self._loss_of(logits, given, "none"), targets).sum()
        return total / self._mass(mix.blend(self.loss_weights[self.labels[index]]))

    def _loss_of(self, logits: torch.Tensor, targets: torch.Tensor, reduction: str) -> torch.Tensor:
        return functional.cross_entropy(
            logits, targets, self.loss_weights, reduction=reduction, label_smoothing=self.label_smoothing
        )

    def mass(self, index: torch.Tensor) -> torch.Tensor | float:
        """Return the sum of the samples' loss weights, or their number where targets are soft."""
        return self._mass(self.loss_weights[self.labels[index]])

    def _mass(self, weights: torch.Tensor) -> torch.Tensor | float:
        return weights.sum() if self.soft is None else float(len(weights))

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the plain cross-entropy and accuracy, without weights or smoothing, and what is followed."""
        if self.val is None:
            return {}
        logits, labels = self.val.logits(network), self.val.labels
        return classification_figures(logits, labels) | probs_of_label(logits, labels, self.followed)


@dataclass(frozen=True)
class Reconstruction:
    """Clean images from noisy ones: Vincent et al., Stacked Denoising Autoencoders (JMLR 11, 2010).

    noise_std is in units of the normalised images' deviation; mask_share of the pixels is set to the mean.
    """

    noise_std: float
    mask_share: float
    val: Held | None

    def corrupt(self, images: torch.Tensor, randomness: torch.Generator) -> torch.Tensor:
        """Return noisy images with holes."""
        noise = torch.empty_like(images).normal_(0, self.noise_std, generator=randomness)
        holes = torch.empty_like(images[:, :1]).uniform_(generator=randomness) < self.mask_share
        return (images + noise).masked_fill(holes, 0.0)

    def loss(
        self,
        network: nn.Module,
        images: torch.Tensor,
        index: torch.Tensor,
        randomness: torch.Generator,
        mix: Mix | None = None,
    ) -> torch.Tensor:
        """Return the mean squared error per number; 1 is what painting the mean would cost."""
        del index, mix
        return functional.mse_loss(network(self.corrupt(images, randomness)), images)

    def mass(self, index: torch.Tensor) -> torch.Tensor | float:
        """Return the number of samples."""
        return float(len(index))

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the error on the val images under the same noise at every epoch.

        The noise is drawn for CHUNK images at once, however few of them the network can be given at a time.
        """
        if self.val is None:
            return {}
        network.eval()
        device = next(network.parameters()).device
        randomness = generator(device, "reconstruction-val")
        total = 0.0
        with torch.no_grad():
            for chunk in torch.split(self.val.images, CHUNK):
                images = normalise(chunk.to(device).float() / 255, self.val.normalisation)
                total += float(_errors(network, self.corrupt(images, randomness), images).sum())
        return {"val_loss": total / len(self.val.images)}


def _errors(network: nn.Module, noisy: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return each image's mean squared error (B,) when it is repainted from its noisy self (B, C, H, W)."""

    def look(at: torch.Tensor) -> torch.Tensor:
        painted: torch.Tensor = network(noisy[at])
        return (painted - images[at]).square().flatten(1).mean(1)

    return in_chunks_that_fit(look, torch.arange(len(images), device=images.device), CHUNK)
