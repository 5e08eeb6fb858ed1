"""Test-time augmentation as a listed set of weighted views, after KellerJordan/cifar10-airbench's `infer`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from stages.lib.normalise import Normalisation, normalise
from stages.lib.stepping import in_chunks_that_fit
from stages.lib.tasks import CHUNK


@dataclass(frozen=True)
class View:
    """Move the picture x pixels right and y down (edges repeat), show a part of it, mirror it or not.

    `zoom` is the share of the sides that is shown, enlarged to the whole (above 1 the picture is made
    smaller, its edges repeat); `weight` is that in the mean. `corner` says where the shown part lies, to the
    right and down: -1 and 1 are the edges, 0 is the middle.
    """

    x: int
    y: int
    flip: bool
    weight: float
    zoom: float
    corner: tuple[int, int] = (0, 0)

    @property
    def is_plain(self) -> bool:
        """Whether the picture is seen as it is."""
        return (self.x, self.y, self.flip, self.zoom) == (0, 0, False, 1.0)


PLAIN = (View(0, 0, False, 1.0, 1.0),)
"""The picture as it is."""

CORNERS = ((0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1))


def crops(view: View, n: int) -> list[View]:
    """Return 1 view, 5 (middle and corners) or 10 (these and their mirror images) that share its weight.

    Source: five and ten crops of Krizhevsky et al., ImageNet Classification (2012).
    """
    if n == 1:
        return [view]
    share = replace(view, weight=view.weight / n)
    five = [replace(share, corner=corner) for corner in CORNERS]
    return five if n == 5 else five + [replace(one, flip=not one.flip) for one in five]


def see(images: torch.Tensor, view: View) -> torch.Tensor:
    """Return images (B, C, H, W) float as the view shows them."""
    height, width = images.shape[2:]
    reach_x, reach_y = abs(view.x), abs(view.y)
    padded = functional.pad(images, (reach_x, reach_x, reach_y, reach_y), mode="replicate")
    top, left = reach_y - view.y, reach_x - view.x
    moved = padded[:, :, top : top + height, left : left + width]
    if view.zoom != 1:
        moved = enlarged_part(moved, view.zoom, view.corner)
    return moved.flip(3) if view.flip else moved


def enlarged_part(images: torch.Tensor, share: float, corner: tuple[int, int]) -> torch.Tensor:
    """Return `share` of both sides of images (B, C, H, W), enlarged to all of them, bilinear."""
    right, down = (place * (1 - share) for place in corner)
    size = images.new_tensor([[share, 0.0, right], [0.0, share, down]]).expand(len(images), 2, 3)
    grid = functional.affine_grid(size, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def class_probs(
    network: nn.Module, images: torch.Tensor, normalisation: Normalisation, views: Sequence[View]
) -> torch.Tensor:
    """Return pred_probs (N, K): the views' weighted mean of probabilities, for images (N, C, H, W) uint8.

    The images may lie elsewhere than the network; the result is where the network is.
    """
    network.eval()
    device = next(network.parameters()).device
    total = sum(view.weight for view in views)

    def look(chunk: torch.Tensor) -> torch.Tensor:
        ready = normalise(chunk.to(device).float() / 255, normalisation)
        parts = [view.weight / total * functional.softmax(network(see(ready, view)), 1) for view in views]
        return torch.stack(parts).sum(0)

    with torch.no_grad():
        return in_chunks_that_fit(look, images, CHUNK)
