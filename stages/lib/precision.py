"""Arithmetic in 16 bits where it is safe: products in bfloat16 or float16, weights and sums in float32.

Micikevicius et al., Mixed Precision Training (arXiv:1710.03740). bfloat16 has float32's range and needs
nothing more. float16 ends at 65,504 and loses what is under 6e-8, so its loss is scaled up before the
gradients are computed, and these down again; a step whose gradients overflow is left out, the scale halved.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

Precision = Literal["float32", "bfloat16", "float16"]

FIRST_SCALE, GROWS_AFTER = 2.0**16, 2000
"""The scale doubles after so many steps without overflow: both are torch's GradScaler's."""


@dataclass
class LossScale:
    """By how much the loss is scaled, and how many steps in a row were sound since it changed."""

    value: float = 1.0
    sound: int = 0

    @classmethod
    def start(cls, precision: Precision) -> "LossScale":
        """Return the scale before the first step; only float16 has one."""
        return cls(FIRST_SCALE if precision == "float16" else 1.0)

    def is_sound(self, parameters: Iterable[nn.Parameter], precision: Precision) -> bool:
        """Scale the gradients back; say whether a step may be taken on them."""
        if precision != "float16":
            return True
        found = [parameter.grad for parameter in parameters if parameter.grad is not None]
        sound = bool(torch.stack([torch.isfinite(gradient).all() for gradient in found]).all())
        if not sound:
            self.value, self.sound = self.value / 2, 0
            return False
        for gradient in found:
            gradient.div_(self.value)
        self.sound += 1
        if self.sound == GROWS_AFTER:
            self.value, self.sound = self.value * 2, 0
        return True


def arithmetic(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a network computes its loss."""
    brief = precision != "float32"
    return torch.autocast(device.type, getattr(torch, precision) if brief else None, enabled=brief)
