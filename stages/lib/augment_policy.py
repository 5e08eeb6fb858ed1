"""RandAugment and TrivialAugment: a few of fourteen operations, drawn for each image, instead of a recipe.

RandAugment (Cubuk et al., arXiv:1909.13719) applies N operations at one magnitude M; TrivialAugment (Müller &
Hutter, arXiv:2103.10158) applies one at a magnitude drawn for each image, over wider ranges ("Wide"). The
operations, their ranges and M of 0 … 30 are those of torchvision's classes of these names.
"""

from collections.abc import Callable
from typing import Literal

import torch

from stages.lib import augment_colour as colour
from stages.lib.augment_geometry import Padding, resampled

Policy = Literal["none", "randaugment", "trivialaugment"]

MOST_MAGNITUDE = 30
"""RandAugment's scale of magnitudes: 0 does nothing, 30 is the end of every range."""

GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
ENHANCING = ("brightness", "colour", "contrast", "sharpness")
TONAL = ("posterise", "solarise", "autocontrast", "equalise")
OPERATIONS = ("identity", *GEOMETRIC, *ENHANCING, *TONAL)
"""In the order in which draws number them."""

FIRST_WITHOUT = OPERATIONS.index("autocontrast")
"""From here on operations have no magnitude."""

NARROW = dict.fromkeys(("shear_x", "shear_y"), 0.3) | {
    "translate_x": 150 / 331,
    "translate_y": 150 / 331,
    "rotate": 30.0,
    "posterise": 4.0,
}
"""RandAugment's ends: shear as a slope, translation as a share of the side, degrees, bits lost."""

WIDE = dict.fromkeys(("shear_x", "shear_y"), 0.99) | {
    "rotate": 135.0,
    "posterise": 6.0,
}
"""TrivialAugment's, which moves by pixels, not by a share of the side."""

WIDE_PIXELS = 32
"""TrivialAugment's end of translation at every size: the side of CIFAR's images, a seventh of ImageNet's."""

SOLARISE_NONE = 256 / 255
"""A threshold that no pixel reaches."""

ENHANCED = {"narrow": 0.9, "wide": 0.99}
"""How far brightness, colour, contrast and sharpness go from 1, either way."""


DRAWS = 4
"""Uniform numbers that one operation on one image takes."""

MOST_OPERATIONS = 8
"""RandAugment's N at most; its paper tries 1 to 3."""


def by_policy(
    images: torch.Tensor,
    policy: Policy,
    amount: tuple[int, int],
    draw: torch.Tensor,
    strength: torch.Tensor,
    padding: Padding,
) -> torch.Tensor:
    """Return images (n, C, H, W) after the policy's operations; amount: RandAugment's N and M.

    draw (DRAWS MOST_OPERATIONS, n) uniform in 0 … 1. Strength (n,) scales each image's magnitude; operations
    without one are left out with the probability that strength lacks.
    """
    count, magnitude = amount if policy == "randaugment" else (1, MOST_MAGNITUDE)
    for which, far, towards, chance in draw.view(MOST_OPERATIONS, DRAWS, -1)[:count]:
        operation = drawn(which)
        operation = torch.where((operation >= FIRST_WITHOUT) & (chance >= strength), 0, operation)
        reach = magnitudes(policy, far, magnitude, strength)
        sign = torch.where(towards < 0.5, -1.0, 1.0)
        images = applied(images, operation, reach, sign, padding, wide=policy == "trivialaugment")
    return images


def drawn(uniform: torch.Tensor) -> torch.Tensor:
    """Return the operation (n,) int64 that each uniform draw (n,) in 0 … 1 means; all are equally likely."""
    return (uniform * len(OPERATIONS)).long().clamp(max=len(OPERATIONS) - 1)


def magnitudes(policy: Policy, uniform: torch.Tensor, magnitude: int, strength: torch.Tensor) -> torch.Tensor:
    """Return how far along its range each image goes (n,) in 0 … 1."""
    reach = torch.full_like(uniform, magnitude / MOST_MAGNITUDE) if policy == "randaugment" else uniform
    return (reach * strength).clamp(0, 1)


def applied(
    images: torch.Tensor,
    operation: torch.Tensor,
    reach: torch.Tensor,
    sign: torch.Tensor,
    padding: Padding,
    *,
    wide: bool,
) -> torch.Tensor:
    """Apply to each image (n, C, H, W) its operation (n,), `reach` (n,) of its range, towards `sign` (n,) ±1.

    Images of one operation are changed together; the batch is cut once, which is one wait for the device.
    """
    order = operation.argsort(stable=True)
    sizes = torch.bincount(operation, minlength=len(OPERATIONS)).tolist()
    result = images.clone()
    groups = order.split(sizes)  # type: ignore[no-untyped-call]
    for name, which in zip(OPERATIONS, groups, strict=True):
        if name != "identity" and len(which):
            changed = _operation(name, padding, wide)(images[which], reach[which], sign[which])
            result[which] = changed
    return result


def _operation(
    name: str, padding: Padding, wide: bool
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    def geometric(images: torch.Tensor, reach: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
        side = images.shape[3 if name == "translate_x" else 2]
        return resampled(images, _map(name, reach * sign * range_end(name, side, wide=wide)), padding)

    def enhanced(images: torch.Tensor, reach: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
        return _enhanced(name, images, 1 + reach * sign * ENHANCED["wide" if wide else "narrow"])

    def tonal(images: torch.Tensor, reach: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
        del sign
        return _tonal(name, images, reach, range_end("posterise", 0, wide=wide))

    return geometric if name in GEOMETRIC else enhanced if name in ENHANCING else tonal


def range_end(name: str, side: int, *, wide: bool) -> float:
    """Return where the range of a geometric operation, or of posterise, ends for images of `side` pixels."""
    if wide and name.startswith("translate"):
        return min(1.0, WIDE_PIXELS / side)
    return (WIDE if wide else NARROW)[name]


def _map(name: str, amount: torch.Tensor) -> torch.Tensor:
    """Return maps (n, 2, 3) that shear, move (shares of the side) or turn (degrees) by `amount` (n,)."""
    maps = torch.eye(2, 3, device=amount.device).repeat(len(amount), 1, 1)
    if name == "rotate":
        angle = torch.deg2rad(amount)
        maps[:, 0, 0] = maps[:, 1, 1] = torch.cos(angle)
        maps[:, 1, 0] = torch.sin(angle)
        maps[:, 0, 1] = -maps[:, 1, 0]
    elif name.startswith("shear"):
        maps[:, *((0, 1) if name == "shear_x" else (1, 0))] = amount
    else:
        maps[:, 0 if name == "translate_x" else 1, 2] = 2 * amount
    return maps


def _enhanced(name: str, images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    if name == "sharpness":
        return colour.sharpened(images, factor)
    one = torch.ones_like(factor)
    brightness, contrast, saturation = (
        factor if name == kind else one for kind in ("brightness", "contrast", "colour")
    )
    return colour.coloured(images, brightness, contrast, saturation, torch.zeros_like(factor))


def _tonal(name: str, images: torch.Tensor, reach: torch.Tensor, bits: float) -> torch.Tensor:
    if name == "posterise":
        return colour.posterised(images, 8 - (reach * bits).round())
    if name == "solarise":
        return colour.solarised(images, (1 - reach) * SOLARISE_NONE)
    return colour.autocontrasted(images) if name == "autocontrast" else colour.equalised(images)
