"""Hints: a student's features shall tell a teacher's (Romero et al., FitNets, arXiv:1412.6550).

A 1x1 convolution maps the student's features at some depth to those of every teacher there, and learns along;
it hangs on the student while that is trained, so that optimiser, checkpoints and the running mean hold it as
all else, and is not part of what is published. The hint's loss is added to the soft one, as Tian et al.
compare methods (arXiv:1910.10699), not a training of its own before it: one run, one schedule.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from stages.lib.errors import InputError
from stages.lib.nets import Architecture, Body, Classifier
from stages.lib.network_names import depth_fault
from stages.lib.whitened_net import WhitenedBody

REGRESSOR = "hint_regressor"
"""The convolution's name on the student."""


@contextmanager
def captured(network: nn.Module, layer: str | None, into: list[torch.Tensor]) -> Iterator[None]:
    """Append what the layer of this name gives, whenever the network runs meanwhile, to `into`."""
    if layer is None:
        yield
        return

    def keep(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        del module, inputs
        into.append(output)

    handle = network.get_submodule(layer).register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def layer_at(network: Classifier, depth: int, who: str) -> str:
    """Return the name of a network's part at `depth`, 1 being nearest to the image.

    The parts are the blocks of the project's own networks, and of a timm net what it lists as features.
    InputError where there is none so deep.
    """
    body = network.body
    if isinstance(body, Body | WhitenedBody):
        names = [f"body.blocks.{at}" for at in range(len(body.blocks))]
    else:
        names = [f"body.{entry['module']}" for entry in getattr(body, "feature_info", None) or []]
    if fault := depth_fault(depth, len(names), who):
        raise InputError(fault)
    return names[depth - 1]


def map_shape(network: nn.Module, layer: str, architecture: Architecture, who: str) -> tuple[int, int, int]:
    """Return (C, h, w) of the layer's features; InputError where they are no map."""
    seen: list[torch.Tensor] = []
    device = next(network.parameters()).device
    side = architecture.image_size
    was_training = network.training
    with torch.no_grad(), captured(network, layer, seen):
        network.eval()(torch.zeros(1, architecture.channels, side, side, device=device))
    network.train(was_training)
    if not seen or seen[0].ndim != 4:
        raise InputError(f"distill.hint_weight: the {who}'s {layer} gives no maps of features; set it to 0")
    channels, height, width = seen[0].shape[1:]
    return int(channels), int(height), int(width)


def add_regressor(
    student: Classifier,
    layer: str,
    architecture: Architecture,
    teachers: Sequence[tuple[int, int, int]],
    randomness: torch.Generator,
) -> None:
    """Hang the convolution on the student (on the CPU): from its features at `layer` to all the teachers'.

    InputError where the student's maps (h, w) are larger than a teacher's, which are averaged down to them.
    """
    channels, *own = map_shape(student, layer, architecture, "student")
    for shape in teachers:
        if own[0] > shape[1] or own[1] > shape[2]:
            raise InputError(
                f"distill.hint_depth: the student's maps of {own[0]} x {own[1]} there are larger than the "
                f"teacher's of {shape[1]} x {shape[2]}: give the student as many depths as the teacher"
            )
    regressor = nn.Conv2d(channels, sum(shape[0] for shape in teachers), 1)
    with torch.no_grad():
        bound = channels**-0.5
        regressor.weight.uniform_(-bound, bound, generator=randomness)
        if regressor.bias is not None:
            regressor.bias.zero_()
    student.add_module(REGRESSOR, regressor)


def hint_loss(student: nn.Module, features: torch.Tensor, teachers: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of the student's features (B, c, h, w) as the teachers' (B, C, H, W)."""
    told = student.get_submodule(REGRESSOR)(features)
    return functional.mse_loss(told, teachers)


def at_size(maps: torch.Tensor, like: tuple[int, int]) -> torch.Tensor:
    """Return maps (B, C, H, W) averaged down to (h, w); of teachers alone: nothing flows back through it."""
    return maps if tuple(maps.shape[2:]) == like else functional.adaptive_avg_pool2d(maps, like)


def without_regressor(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a student's tensors as they are published."""
    return {name: value for name, value in tensors.items() if not name.startswith(f"{REGRESSOR}.")}
