"""How large a network's maps are, and how many of its channels are dead: before training and after it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from stages.lib.checks import Check, at_least, at_most


@dataclass(frozen=True)
class Activations:
    """Name, root mean square and share of dead channels of every module that gives maps or tokens."""

    names: tuple[str, ...]
    size: tuple[float, ...]
    dead: tuple[float, ...]


def activations(network: nn.Module, images: torch.Tensor) -> Activations:
    """Run images (B, C, H, W) through the network in evaluation mode.

    Maps (B, C, H, W) and tokens (B, T, C) are looked at; a channel that is the same everywhere is dead.
    """
    found: dict[str, tuple[float, float]] = {}

    def listen(name: str) -> object:
        def keep(_module: nn.Module, _given: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.ndim in CHANNEL_AXIS:
                flat = output.detach().float().movedim(CHANNEL_AXIS[output.ndim], 0).flatten(1)
                dead = (flat.amax(1) - flat.amin(1) <= CONSTANT).float().mean()
                found[name] = float(flat.square().mean().sqrt()), float(dead)

        return keep

    modules = [(name, module) for name, module in network.named_modules() if name]
    handles = [module.register_forward_hook(listen(name)) for name, module in modules]
    with torch.no_grad():
        network.eval()(images)
    for handle in handles:
        handle.remove()
    return Activations(tuple(found), *(tuple(pair[at] for pair in found.values()) for at in (0, 1)))


CHANNEL_AXIS = {4: 1, 3: 2}
"""Where channels lie in maps (B, C, H, W) and in tokens (B, T, C)."""

CONSTANT = 1e-6
"""Below this a map's largest and smallest number are rounding apart."""


def awake(before: Activations, after: Activations) -> Activations:
    """Return `before`, but for modules that said nothing at all and said something after the first steps.

    Many residual networks start their branches at zero on purpose (Goyal et al., arXiv:1706.02677, section
    5.1); such a branch is judged once it has moved. Both are of one network, module by module.
    """
    woken = [old == 0 < new for old, new in zip(before.size, after.size, strict=True)]
    size = [new if up else old for up, old, new in zip(woken, before.size, after.size, strict=True)]
    dead = [new if up else old for up, old, new in zip(woken, before.dead, after.dead, strict=True)]
    return Activations(before.names, tuple(size), tuple(dead))


def activation_checks(prefix: str, found: Activations) -> list[Check]:
    """Judge how large the maps are and how many channels are dead, at the worst module."""
    names = found.names or ("none",)
    size, dead = np.array(found.size or (1.0,)), np.array(found.dead or (0.0,))
    size = np.where(np.isfinite(size), size, np.inf)
    most, least, worst = int(size.argmax()), int(size.argmin()), int(dead.argmax())
    explodes = f"root mean square, largest in {names[most]}: signals that explode do not train"
    vanishes = f"root mean square, smallest in {names[least]}: signals that vanish do not train"
    stuck = f"share of channels that say the same of every image, largest in {names[worst]}: they stay dead"
    return [
        at_most(f"{prefix}activation_size", float(size[most]), LARGEST, explodes),
        at_least(f"{prefix}activation_size_least", float(size[least]), SMALLEST, vanishes),
        at_most(f"{prefix}dead_channels", float(dead[worst]), MOST_DEAD, stuck),
    ]


LARGEST, SMALLEST = 1e3, 1e-6
"""Networks of ours stay within a decade of 1; a branch that starts at zero on purpose grows from 1e-3."""

MOST_DEAD = 0.5
"""Half of a layer; at the start healthy networks of ours have none or a few."""
