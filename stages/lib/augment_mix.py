"""Mix two pictures of a batch and their labels: mixup, CutMix, and one picture pasted into the other's scene.

Each changes the target too: `Mix` says which other sample of the batch is in a picture, and how much of the
target is still the picture's own. Tasks take it with `Mix.loss`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from stages.lib.augment_degrade import resized_rows, through_rows
from stages.lib.augment_erase import box_mask

QUANTILES = 2048
"""Points of the table that turns uniform draws into Beta draws; linear between them."""

PASTED_SIDE = (0.1, 0.8)
"""ResizeMix's range of a pasted picture's side, as a share of the scene's (its tables 7 and 8)."""

ROWS = 7
"""Uniform numbers an image that mixing takes."""


@dataclass(frozen=True)
class Mixing:
    """How pictures are mixed: `share` of them, by any of the kinds that are on, equally often.

    mixup_alpha and cutmix_alpha: Beta(alpha, alpha) says how much of each picture (0: off); paste: on or off.
    """

    share: float
    mixup_alpha: float
    cutmix_alpha: float
    paste: bool

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are on."""
        on = {"mixup": self.mixup_alpha > 0, "cutmix": self.cutmix_alpha > 0, "paste": self.paste}
        return tuple(name for name, used in on.items() if used and self.share > 0)


@dataclass(frozen=True)
class Mix:
    """What was mixed: partner (B,) int64, positions in the batch; own (B,) float, the own label's weight."""

    partner: torch.Tensor
    own: torch.Tensor

    def blend(self, values: torch.Tensor) -> torch.Tensor:
        """Return values (B, …) of the pictures, mixed as the pictures are."""
        own = self.own.view(-1, *(1,) * (values.ndim - 1))
        return own * values + (1 - own) * values[self.partner]

    def loss(self, per_label: Callable[[torch.Tensor], torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        """Return each picture's loss (B,), when per_label gives that of one label each (B,) int64."""
        return self.own * per_label(labels) + (1 - self.own) * per_label(labels[self.partner])


def mixed(images: torch.Tensor, how: Mixing, randomness: torch.Generator) -> tuple[torch.Tensor, Mix | None]:
    """Return images (B, C, H, W) mixed within the batch, and what was mixed; None where all kinds are off."""
    kinds = how.kinds
    if not kinds or len(images) < 2:
        return images, None
    draw = torch.rand((ROWS, len(images)), generator=randomness, device=images.device)
    partner = draw[0].argsort(stable=True)
    # One draw decides both whether and how: below `share` it is uniform again.
    which = torch.where(draw[1] < how.share, draw[1] / how.share * len(kinds), -1.0).floor()
    result, own = images, torch.ones_like(draw[0])
    for position, kind in enumerate(kinds):
        chosen = which == position
        result, kept = _KINDS[kind](result, images[partner], draw[2:], how, chosen)
        own = torch.where(chosen, kept, own)
    return result, Mix(partner, own)


def _mixup(
    images: torch.Tensor, others: torch.Tensor, draw: torch.Tensor, how: Mixing, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Zhang et al., arXiv:1710.09412: a weighted mean of two pictures, the weight from Beta(alpha, alpha)."""
    kept = torch.where(chosen, beta_draws(draw[0], how.mixup_alpha), 1.0)
    return torch.lerp(others, images, kept[:, None, None, None]), kept


def _cutmix(
    images: torch.Tensor, others: torch.Tensor, draw: torch.Tensor, how: Mixing, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Yun et al., arXiv:1905.04899: a box from the other picture at its own place; labels by visible area.

    The box has the picture's aspect, its middle is any point, and what hangs over is cut off, as there.
    """
    side = torch.where(chosen, torch.sqrt(1 - beta_draws(draw[0], how.cutmix_alpha)), 0.0)
    mask = box_mask(draw[1] - side / 2, draw[2] - side / 2, side, side, images.shape)
    return torch.where(mask, others, images), 1 - mask.float().mean((1, 2, 3))


def _paste(
    images: torch.Tensor, others: torch.Tensor, draw: torch.Tensor, how: Mixing, chosen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Qin et al., arXiv:2012.11101 (ResizeMix): the whole other picture, made small; labels by area."""
    del how
    least, most = PASTED_SIDE
    share = torch.where(chosen, least + draw[0] * (most - least), 0.0)
    placed = []
    for position, side in zip(draw[1:3], images.shape[2:], strict=True):
        size = (share * side).round()
        start = torch.floor(position * (side - size + 1))
        placed.append((start / side, size / side, resized_rows(side, start, size.clamp(min=1))))
    (top, height, rows), (left, width, columns) = placed
    mask = box_mask(left, top, width, height, images.shape)
    small = through_rows(others, rows, columns)
    return torch.where(mask, small, images), 1 - mask.float().mean((1, 2, 3))


_KINDS = {"mixup": _mixup, "cutmix": _cutmix, "paste": _paste}


def beta_draws(uniform: torch.Tensor, alpha: float) -> torch.Tensor:
    """Turn uniform draws (n,) in 0 … 1 into draws from Beta(alpha, alpha), by its quantiles.

    So the same generator serves every device, and nothing is drawn again until it fits.
    """
    table = _beta_quantiles(alpha).to(uniform)
    place = uniform * QUANTILES
    below = place.floor().clamp(max=QUANTILES - 1)
    return torch.lerp(table[below.long()], table[below.long() + 1], place - below)


@lru_cache(maxsize=8)
def _beta_quantiles(alpha: float) -> torch.Tensor:
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(alpha, alpha, np.linspace(0, 1, QUANTILES + 1)))
