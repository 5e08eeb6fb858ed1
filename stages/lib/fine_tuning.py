"""Which layers learn, and how fast: depth of each parameter, layer-wise rates, freezing, held statistics.
Also what kind of parameter each is: a hidden matrix (which Muon steps), or one that does not decay.

A layer is a part of the network as its author cut it: for the project's own nets the stem, each block and the
head; for a timm net the groups of its `group_matcher`. Depth 0 is nearest to the image.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

BODY = "body."
"""Parameters under this name are the body that pretraining made; all others are new (head, decoder)."""

_BLOCK = re.compile(r"body\.blocks\.(\d+)\.")


@dataclass(frozen=True)
class Tuning:
    """layer_decay: each layer learns at this share of the next deeper one's rate.

    frozen_layers: so many, nearest to the image, do not learn at all. hold_statistics: batch norms of the
    body keep the running statistics that they came with.
    """

    layer_decay: float = 1.0
    frozen_layers: int = 0
    hold_statistics: bool = False


def depths(network: nn.Module) -> dict[str, int]:
    """Return each parameter's depth by its name; everything outside the body is one layer, the deepest."""
    body = getattr(network, "body", None)
    if body is None:
        return {name: 0 for name, _ in network.named_parameters()}
    within = _grouped(body) if hasattr(body, "group_matcher") else {}
    found: dict[str, int] = {}
    for name, _ in network.named_parameters():
        block = _BLOCK.match(name)
        if name.removeprefix(BODY) in within:
            found[name] = within[name.removeprefix(BODY)]
        elif name.startswith(BODY):
            found[name] = int(block[1]) + 1 if block else 0
    last = max(found.values(), default=-1) + 1
    return {name: found.get(name, last) for name, _ in network.named_parameters()}


def _grouped(body: Any) -> dict[str, int]:
    """Return a timm net's own grouping, with depths counted without gaps."""
    from timm.models import group_parameters

    groups = group_parameters(body, body.group_matcher(coarse=False))
    order = {group: at for at, group in enumerate(sorted(groups))}
    return {name: order[group] for group, names in groups.items() for name in names}


def learning_scales(network: nn.Module, tuning: Tuning) -> dict[str, float]:
    """Return each parameter's rate as a share of the head's: layer_decay per layer that it is less deep.

    Source: ULMFiT's discriminative rates (Howard and Ruder, arXiv:1801.06146), as BEiT and MAE use them.
    """
    depth = depths(network)
    last = max(depth.values(), default=0)
    return {name: tuning.layer_decay ** (last - at) for name, at in depth.items()}


def hidden_matrices(network: nn.Module) -> frozenset[str]:
    """Return the names of the weights that Muon steps: matrices and kernels within the body.

    Those are the weights of convolutions and linear layers, as Jordan et al. have it: no embeddings, tokens
    or tables of positions, and not the layer that meets the image. A depthwise kernel is no matrix either:
    its channels do not mix.
    """
    body = getattr(network, "body", None)
    if body is None:
        return frozenset()
    layers = list(_weighted_layers(body))
    first = _meets_image(body) or [name for name, _ in layers[:1]]
    return frozenset(
        f"{BODY}{name}.weight"
        for name, layer in layers
        if name not in first and isinstance(layer.weight, nn.Parameter) and not _is_depthwise(layer)
    )


def _weighted_layers(body: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield convolutions and linear layers in the order they were built in, which is the forward's."""
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear
    yield from ((name, layer) for name, layer in body.named_modules() if isinstance(layer, kinds))


def _meets_image(body: Any) -> list[str]:
    """Return what a timm net says are its first layers; some look at the image with two of them."""
    first = (getattr(body, "pretrained_cfg", None) or {}).get("first_conv") or []
    return [first] if isinstance(first, str) else list(first)


def _is_depthwise(layer: Any) -> bool:
    return getattr(layer, "groups", 1) > 1 and layer.weight.shape[1] == 1


def decaying(network: nn.Module) -> frozenset[str]:
    """Return the names of the parameters that weight decay holds down.

    Norms' scales and biases never decay: they have no scale of their own to hold down (Loshchilov and Hutter,
    arXiv:1711.05101, and every recipe since). Nor does what the body's author names in `no_weight_decay`, as
    patterns: tokens, positions.
    """
    body: Any = getattr(network, "body", None)
    spared = body.no_weight_decay() if hasattr(body, "no_weight_decay") else ()
    return frozenset(
        name
        for name, parameter in network.named_parameters()
        if parameter.ndim > 1 and not any(fnmatch(name, BODY + pattern) for pattern in spared)
    )


def set_trainable(network: nn.Module, tuning: Tuning, *, body_frozen: bool) -> None:
    """Let every parameter learn but those of frozen layers, or of the whole body."""
    depth = depths(network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not _is_frozen(name, depth[name], tuning, body_frozen))


def _is_frozen(name: str, depth: int, tuning: Tuning, body_frozen: bool) -> bool:
    return name.startswith(BODY) and (body_frozen or depth < tuning.frozen_layers)


def train_mode(network: nn.Module, tuning: Tuning) -> None:
    """Put the network in training mode, but for batch norms that shall keep their statistics.

    Those are norms whose own scale is frozen, because a frozen layer must compute what it computed before
    (the mistake is old: with `train()` alone its outputs drift), and with hold_statistics all of the body's.
    """
    network.train()
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            frozen = module.weight is not None and not module.weight.requires_grad
            if frozen or (tuning.hold_statistics and name.startswith(BODY)):
                module.eval()
