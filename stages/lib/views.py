"""Test-time augmentation as a listed set of weighted views, after KellerJordan/cifar10-airbench's `infer`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from stages.lib.normalise import Normalisation, normalise
from stages.lib.stepping import in_chunks_that_fit
from stages.lib.tasks import CHUNK


@dataclass(frozen=True)
class View:
    """Move the picture x pixels right and y down (edges repeat), show its middle, mirror it or not.

    `zoom` is the share of the sides that is shown, enlarged to the whole; `weight` is that in the mean. A
    crop off the middle is a move and a zoom: five crops of 7/8 are moves of 0 and of ±1/16 both ways.
    """

    x: int
    y: int
    flip: bool
    weight: float
    zoom: float


PLAIN = (View(0, 0, False, 1.0, 1.0),)
"""The picture as it is."""


def see(images: torch.Tensor, view: View) -> torch.Tensor:
    """Return images (B, C, H, W) float as the view shows them."""
    height, width = images.shape[2:]
    reach_x, reach_y = abs(view.x), abs(view.y)
    padded = functional.pad(images, (reach_x, reach_x, reach_y, reach_y), mode="replicate")
    top, left = reach_y - view.y, reach_x - view.x
    moved = padded[:, :, top : top + height, left : left + width]
    if view.zoom < 1:
        moved = enlarged_middle(moved, view.zoom)
    return moved.flip(3) if view.flip else moved


def enlarged_middle(images: torch.Tensor, share: float) -> torch.Tensor:
    """Return the middle `share` of both sides of images (B, C, H, W), enlarged to all of them, bilinear."""
    size = images.new_tensor([[share, 0.0, 0.0], [0.0, share, 0.0]]).expand(len(images), 2, 3)
    grid = functional.affine_grid(size, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def class_probs(
    network: nn.Module, images: torch.Tensor, normalisation: Normalisation, views: Sequence[View]
) -> torch.Tensor:
    """Return pred_probs (N, K): the views' weighted mean of probabilities, for images (N, C, H, W) uint8."""
    network.eval()
    total = sum(view.weight for view in views)

    def look(chunk: torch.Tensor) -> torch.Tensor:
        ready = normalise(chunk.float() / 255, normalisation)
        parts = [view.weight / total * functional.softmax(network(see(ready, view)), 1) for view in views]
        return torch.stack(parts).sum(0)

    with torch.no_grad():
        return in_chunks_that_fit(look, images, CHUNK)
