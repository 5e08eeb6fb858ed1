"""A trained network from inside: its first layer's filters, and how large and how dead its maps are.

Smooth filters of many kinds have learned something; noise says that training was too short, too fast or
without enough decay, and copies of one filter that the layer is too wide (Stanford CS231n, "Babysitting the
learning process").
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stages.lib.activations import Activations, activation_checks, activations
from stages.lib.artifacts import write_csv
from stages.lib.batch_picture import draw_batch
from stages.lib.checks import Check

MOST_FILTERS = 64
"""Eight rows of a picture."""

FILTERS, ACTIVATIONS = "filters.png", "activations.csv"


@dataclass(frozen=True)
class Inside:
    """Tiles (F, h, w, C) uint8 of the first filters, and the sizes of every module's maps."""

    filters: np.ndarray
    activations: Activations

    def checks(self) -> list[Check]:
        """Judge the maps as preflight does."""
        return activation_checks("", self.activations)

    def write(self, out: Path) -> None:
        """Write the picture and the table into the folder `out`."""
        draw_batch(out / FILTERS, self.filters, [str(at + 1) for at in range(len(self.filters))])
        found = self.activations
        rows = zip(found.names, found.size, found.dead, strict=True)
        write_csv(out / ACTIVATIONS, ["module", "size", "dead"], rows)


def look_inside(network: nn.Module, images: torch.Tensor) -> Inside:
    """Look at a trained network fed with normalised images (B, C, H, W)."""
    return Inside(first_filters(network), activations(network, images))


def first_filters(network: nn.Module) -> np.ndarray:
    """Return the first convolution's filters as pictures (F, h, w, C) uint8, zero as middle grey.

    Each is scaled by its own largest weight. Filters over other than 1 or 3 channels are averaged over them.
    A network without a convolution shows one grey tile.
    """
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        return np.full((1, 1, 1, 1), 128, np.uint8)
    kernels = first.weight.detach().float().cpu()[:MOST_FILTERS]
    if kernels.shape[1] not in (1, 3):
        kernels = kernels.mean(1, keepdim=True)
    largest = kernels.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    shown = (127.5 + 127.5 * kernels / largest).round().byte()
    return np.ascontiguousarray(shown.permute(0, 2, 3, 1).numpy())
