"""How predictions hold when pictures get worse: test images changed in one way, one strength at a time.

Kinds and what a strength means: resolution, share of the sides that is kept (then enlarged again); aspect,
width over height, the middle cut out; jpeg, quality 1 to 100; brightness, factor on all light, cut at white;
blur, standard deviation of a Gaussian as a share of the side; shift, share of the side, to the right and
down, edges repeat. A curve says more than one number: a model may stand anything until it falls.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch.nn import functional

from stages.lib.augment_degrade import blurred, compressed, downscaled
from stages.lib.tasks import CHUNK
from stages.lib.views import View, see

Changer = Callable[[torch.Tensor, float], torch.Tensor]


def _alike(images: torch.Tensor, strength: float) -> torch.Tensor:
    return images.new_full((len(images),), strength)


def _shifted(images: torch.Tensor, strength: float) -> torch.Tensor:
    pixels = max(1, round(strength * images.shape[3]))
    return see(images, View(pixels, pixels, False, 1.0, 1.0))


def _stretched(images: torch.Tensor, strength: float) -> torch.Tensor:
    """Return the middle of the picture made `strength` times as wide; narrower where that is under 1."""
    size = images.new_tensor([[1 / strength, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(len(images), 2, 3)
    grid = functional.affine_grid(size, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


CHANGES: Mapping[str, Changer] = {
    "resolution": lambda images, strength: downscaled(images, _alike(images, strength)),
    "aspect": _stretched,
    "jpeg": lambda images, strength: compressed(images, _alike(images, strength)),
    "brightness": lambda images, strength: images * strength,
    "blur": lambda images, strength: blurred(images, _alike(images, strength * images.shape[3])),
    "shift": _shifted,
}


def changed(images: torch.Tensor, kind: str, strength: float) -> torch.Tensor:
    """Return images (N, C, H, W) uint8 changed alike, rounded as a file would hold them."""
    worse = CHANGES[kind](images.float() / 255, strength)
    return (worse.clamp(0, 1) * 255).round().to(torch.uint8)


def said_under(
    images: torch.Tensor,
    levels: Mapping[str, Sequence[float]],
    probs: Callable[[torch.Tensor], torch.Tensor],
    device: torch.device,
) -> dict[tuple[str, float], torch.Tensor]:
    """Return the class (N,) int64 that `probs` names for images (N, C, H, W) uint8 under each change.

    The images may lie elsewhere than on the device, on which they are changed CHUNK at a time.
    """

    def under(kind: str, strength: float) -> torch.Tensor:
        chunks = torch.split(images, CHUNK)
        return torch.cat([changed(chunk.to(device), kind, strength).to(images.device) for chunk in chunks])

    return {
        (kind, strength): probs(under(kind, strength)).argmax(1)
        for kind in CHANGES
        for strength in levels.get(kind, ())
    }
