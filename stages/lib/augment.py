"""Random views of a batch, made on the device it lives on: every image gets its own small change.

Batch-first functions with a generator, after the manner of KellerJordan/cifar10-airbench, one module a
subject: geometry, policy, colour, degrade, erase, and mix, which changes targets too. An image is seen
through all of them in that order. bench/README.md states what each costs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import torch

from stages.lib import augment_geometry as geometry
from stages.lib.augment_colour import coloured
from stages.lib.augment_degrade import blurred, compressed, downscaled
from stages.lib.augment_erase import BOX_DRAWS, cutout_mask, erasing_mask, hidden
from stages.lib.augment_geometry import Maps, Padding
from stages.lib.augment_mix import Mixing
from stages.lib.augment_policy import DRAWS, MOST_OPERATIONS, Policy, by_policy
from stages.lib.counters import generator

Fill = Literal["mean", "noise"]
Flip = bool | Literal["alternate"]
Chosen = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

MAP_DRAWS = 7
SIZES = {
    "crop": 2 * geometry.TRIES + 2,
    "move": 2,
    "policy": DRAWS * MOST_OPERATIONS,
    "colour": 4,
    "downscale": 2,
    "blur": 2,
    "jpeg": 2,
    "erase": 1 + BOX_DRAWS,
    "cutout": 2,
}
"""Uniform numbers an image that each kind takes. All are drawn where one is used, in one call, so that
switching a kind off leaves the draws of the others as they were."""

PLACES = {
    name: slice(start, end)
    for name, (start, end) in zip(SIZES, pairwise(accumulate(SIZES.values(), initial=0)), strict=True)
}


@dataclass(frozen=True)
class Augmentation:
    """How far images are changed; params.yaml (train.augment) says what each is for. 0 is none.

    A largest change is drawn uniformly between minus and plus it: rotation_degrees; shift, a share of the
    side; zoom and aspect, logarithms of factors of size and of width over height; shear, a share of the
    height; brightness, contrast, saturation, shares; hue, turns of the circle; crop_pixels, whole pixels.
    flip "alternate" mirrors by `alternating`, where the epoch is known. A share is the probability of an
    image to be changed: downscale, blur, jpeg, erase, mix.
    """

    rotation_degrees: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    flip: Flip = False
    padding: Padding = "zeros"
    aspect: float = 0.0
    crop_pixels: int = 0
    crop_min_area: float = 1.0
    policy: Policy = "none"
    policy_operations: int = 1
    policy_magnitude: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    downscale_share: float = 0.0
    downscale_min: float = 1.0
    blur_share: float = 0.0
    blur_sigma: float = 0.0
    jpeg_share: float = 0.0
    jpeg_quality: int = 100
    erase_share: float = 0.0
    erase_area: tuple[float, float] = (0.0, 0.0)
    cutout: float = 0.0
    erase_fill: Fill = "mean"
    mix_share: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    paste: bool = False

    @property
    def maps(self) -> Maps:
        """The affine part."""
        return Maps(self.rotation_degrees, self.shift, self.zoom, self.aspect, self.shear, bool(self.flip))

    @property
    def mixing(self) -> Mixing:
        """What changes the targets as well; the loop does it after everything else."""
        return Mixing(self.mix_share, self.mixup_alpha, self.cutmix_alpha, self.paste)

    @property
    def colours(self) -> tuple[float, ...]:
        """The four changes of colour."""
        return self.brightness, self.contrast, self.saturation, self.hue

    @property
    def only_maps(self) -> bool:
        """Whether everything but the affine part is off."""
        shares = self.downscale_share, self.blur_share, self.jpeg_share, self.erase_share, self.cutout
        return (
            not any((*self.colours, *shares, self.crop_pixels))
            and self.policy == "none"
            and self.crop_min_area == 1
        )


def augment(
    images: torch.Tensor,
    how: Augmentation,
    randomness: torch.Generator,
    strength: torch.Tensor | None = None,
    mirror: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return a changed copy of images (B, C, H, W) float in 0 … 1; labels are not touched.

    strength (B,) >= 0 scales each image's bounds, and its probability where a change has one (up to 1): 0
    leaves the image, 1 or None is as `how` says, 2 twice as far. mirror (B,) in 0 … 1 stands in for the draws
    that decide which images are mirrored: those below a half.
    """
    n, device = len(images), images.device
    maps = torch.rand((MAP_DRAWS, n), generator=randomness, device=device)
    if mirror is not None:
        maps[-1] = mirror
    if how.only_maps:
        return _mapped(images, how, maps, None, strength)
    drawn = torch.rand((sum(SIZES.values()), n), generator=randomness, device=device)
    draws = {name: drawn[place] for name, place in PLACES.items()}
    full = torch.ones_like(drawn[0]) if strength is None else strength
    images = _moved(_mapped(images, how, maps, draws["crop"], strength), how, draws["move"], full)
    if how.policy != "none":
        amount = how.policy_operations, how.policy_magnitude
        images = by_policy(images, how.policy, amount, draws["policy"], full, how.padding)
    images = _degraded(_recoloured(images, how, draws["colour"], full), how, draws, full)
    return _with_holes(images, how, draws, full, randomness)


def alternating(n: int, seed: int, epoch: int) -> torch.Tensor:
    """Return (n,) in 0 … 1: each number is below a half in every second epoch.

    Half of the samples are mirrored in the first epoch, the others in the second, and so on: two epochs show
    each both ways, where chance shows half of them one way twice (Jordan, arXiv:2404.00498).
    """
    amount, coin = torch.rand(2, n, generator=generator(torch.device("cpu"), "mirror", seed))
    kept = (coin < 0.5) if epoch % 2 else (coin >= 0.5)
    return torch.where(kept, 0.5 + amount / 2, amount / 2)


def _mapped(
    images: torch.Tensor,
    how: Augmentation,
    draw: torch.Tensor,
    crop: torch.Tensor | None,
    strength: torch.Tensor | None,
) -> torch.Tensor:
    if how.maps.resamples or how.crop_min_area < 1:
        matrices = geometry.affine_matrices(draw, how.maps, strength)
        if crop is not None and how.crop_min_area < 1:
            matrices = geometry.cropped(matrices, crop, how.crop_min_area, strength)
        return geometry.resampled(images, matrices, how.padding)
    mirrored = geometry.mirrored(draw[-1], how.maps, strength)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def _moved(
    images: torch.Tensor, how: Augmentation, draw: torch.Tensor, strength: torch.Tensor
) -> torch.Tensor:
    if not how.crop_pixels:
        return images
    # Every whole number from -pixels to +pixels equally often.
    reach = (how.crop_pixels * strength).round()
    right, down = (torch.floor(draw * (2 * reach + 1)) - reach).long()
    return geometry.moved(images, right, down, how.padding)


def _recoloured(
    images: torch.Tensor, how: Augmentation, draw: torch.Tensor, strength: torch.Tensor
) -> torch.Tensor:
    if not any(how.colours):
        return images
    change = (draw * 2 - 1) * draw.new_tensor(how.colours)[:, None] * strength
    brightness, contrast, saturation = (1 + change[:3]).clamp(min=0)
    return coloured(images, brightness, contrast, saturation, change[3])


def _degraded(
    images: torch.Tensor, how: Augmentation, draws: dict[str, torch.Tensor], strength: torch.Tensor
) -> torch.Tensor:
    """Lose pixels, sharpness, and detail to JPEG, in the order in which cameras and websites do it."""

    def maybe(images: torch.Tensor, kind: str, share: float, change: Chosen) -> torch.Tensor:
        if not share:
            return images
        chance, amount = draws[kind]
        which = (chance < share * strength).nonzero()[:, 0]
        if not len(which):
            return images
        return images.index_copy(0, which, change(images[which], amount[which]))

    images = maybe(
        images,
        "downscale",
        how.downscale_share,
        lambda some, draw: downscaled(some, how.downscale_min + draw * (1 - how.downscale_min)),
    )
    images = maybe(images, "blur", how.blur_share, lambda some, draw: blurred(some, draw * how.blur_sigma))
    return maybe(
        images,
        "jpeg",
        how.jpeg_share,
        lambda some, draw: compressed(some, how.jpeg_quality + draw * (100 - how.jpeg_quality)),
    )


def _with_holes(
    images: torch.Tensor,
    how: Augmentation,
    draws: dict[str, torch.Tensor],
    strength: torch.Tensor,
    randomness: torch.Generator,
) -> torch.Tensor:
    if not (how.erase_share or how.cutout):
        return images
    mask = torch.zeros_like(images[:, :1], dtype=torch.bool)
    if how.erase_share:
        chosen = draws["erase"][0] < how.erase_share * strength
        erased = erasing_mask(draws["erase"][1:], how.erase_area, images.shape)
        mask = mask | (erased & chosen[:, None, None, None])
    if how.cutout:
        mask = mask | cutout_mask(draws["cutout"], how.cutout, strength, images.shape)
    noise = None
    if how.erase_fill == "noise":
        noise = torch.rand(images.shape, generator=randomness, device=images.device)
    return hidden(images, mask, noise)
