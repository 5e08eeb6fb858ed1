"""What a network costs, and where its sizes waste the hardware."""

from typing import Any

import torch
from torch import nn

TENSOR_CORE = 8
"""Channels per tensor-core tile in 16-bit arithmetic: others are padded up to it (NVIDIA, Deep Learning
Performance Guide, "Tensor Core requirements")."""

EFFICIENT = 64
"""Above it the same guide measures multiples of 64 as the efficient ones on an A100 and later."""


def count_parameters(network: nn.Module) -> int:
    """Return how many numbers training may change."""
    return sum(parameter.numel() for parameter in network.parameters())


def flops_by_layer(network: nn.Module, image: torch.Tensor) -> dict[str, int]:
    """Return what every convolution and linear layer computes for one image (1, C, H, W).

    A multiply-add counts 2; norms and activations are left out, as is the habit.
    """
    found: dict[str, int] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            handles.append(module.register_forward_hook(_counter(found, name)))
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(image)
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return found


def _weight(layer: nn.Module) -> torch.Tensor:
    """Return a convolution's or linear layer's weight, whether it is learned or not."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight


def _counter(found: dict[str, int], name: str) -> Any:
    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        del inputs
        weight = _weight(module)
        places = output[0].numel() // weight.shape[0]
        found[name] = found.get(name, 0) + 2 * weight[0].numel() * weight.shape[0] * places

    return count


def advice(network: nn.Module, flops: dict[str, int]) -> list[str]:
    """Return a line for each channel count that a GPU pads or handles badly; the first layer counts apart."""
    lines: list[str] = []
    sizes: dict[int, list[str]] = {}
    first = next(iter(flops), "")
    for name in flops:
        weight = _weight(network.get_submodule(name))
        for size in {weight.shape[0], *([weight.shape[1]] if name != first and weight.ndim == 2 else [])}:
            sizes.setdefault(int(size), []).append(name)
    last = next(reversed(flops), "")
    for size, names in sorted(sizes.items()):
        better = _better(size)
        if better != size and names != [last]:
            lines.append(
                f"{size} channels ({names[0]}{' and others' if len(names) > 1 else ''}): a GPU computes them "
                f"as {better}; take {better} or fewer for the same time"
            )
    if flops:
        channels = _weight(network.get_submodule(first)).shape[1]
        share = flops[first] / max(sum(flops.values()), 1)
        if channels % TENSOR_CORE and share > 0.1:
            lines.append(
                f"{channels} input channels at {share:.0%} of the work: a GPU pads them to {TENSOR_CORE}; a "
                "stride or fewer channels in the first layer saves most"
            )
    return lines


def _better(size: int) -> int:
    unit = EFFICIENT if size > EFFICIENT else TENSOR_CORE
    return -(-size // unit) * unit


def describe(network: nn.Module, channels: int, image_size: int) -> dict[str, Any]:
    """Return parameters, floating-point operations an image, the width of every layer, and the advice."""
    device = next(network.parameters()).device
    flops = flops_by_layer(network, torch.zeros(1, channels, image_size, image_size, device=device))
    widths = {name: int(_weight(network.get_submodule(name)).shape[0]) for name in flops}
    return {
        "n_parameters": count_parameters(network),
        "flops_per_image": sum(flops.values()),
        "channels": widths,
        "advice": advice(network, flops),
    }
