"""Foreign names to ours: what of a file fits a body, what does not, and both said by name.

`load_state_dict(strict=False)` accepts a file of which nothing fits, without a word (measured on torch 2.15).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from stages.lib.errors import InputError
from stages.lib.position_tables import resampled

LEAST_SHARE = 0.5
"""Of the body's numbers: a file that covers less belongs to another network."""

BRIEF = (torch.float32, torch.float16, torch.bfloat16)
"""Numbers that float32 holds exactly."""

SHOWN = 20
DEEPEST_PREFIX = 4


@dataclass(frozen=True)
class Match:
    """tensors by the body's names; what the file lacks, and what it has beside (heads).

    adapted are kernels fitted to other channels, resampled are positions brought to another picture size.
    """

    tensors: dict[str, torch.Tensor]
    prefix: str
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    other_shape: tuple[str, ...]
    adapted: tuple[str, ...]
    resampled: tuple[str, ...]

    def facts(self) -> dict[str, object]:
        """Return what people and metrics want to know."""
        return {
            "prefix": self.prefix,
            "n_matched": len(self.tensors),
            "matched": sorted(self.tensors),
            "missing": list(self.missing),
            "unused": list(self.unused),
            "other_shape": list(self.other_shape),
            "adapted": list(self.adapted),
            "resampled": list(self.resampled),
        }

    def told(self) -> str:
        """Say it in a line: how much of the network was found, and by name what was not."""
        whole = len(self.tensors) + len(self.missing) + len(self.other_shape)
        gaps = {"not in it": self.missing, "of other shape": self.other_shape}
        gaps |= {"fitted to other channels": self.adapted, "resampled for other places": self.resampled}
        gaps |= {"not used": self.unused}
        return "; ".join(
            [f"{len(self.tensors)} of the network's {whole} tensors are in it"]
            + [f"{what}: {_some(names)}" for what, names in gaps.items() if names]
        )


def best_prefix(found: Iterable[str], expected: Iterable[str]) -> str:
    """Return what to cut off the file's names so that most of them are the body's: `module.`, `model.`, …"""
    names, hits = frozenset(expected), Counter[str]({"": 0})
    for name in found:
        parts = name.split(".")
        for cut in range(min(DEEPEST_PREFIX, len(parts))):
            hits[".".join(parts[:cut]) + ("." if cut else "")] += ".".join(parts[cut:]) in names
    return max(sorted(hits), key=lambda prefix: hits[prefix])


def match_weights(path: object, found: Mapping[str, torch.Tensor], body: nn.Module) -> Match:
    """Fit the file's tensors to the body; InputError when they cover less than LEAST_SHARE of its numbers.

    Nor may what fits hold other numbers than floats, NaN or infinities; what does not fit may hold anything.
    """
    expected = body.state_dict()
    prefix = best_prefix(found, expected)
    first = next((name for name, tensor in expected.items() if tensor.ndim == 4), "")
    tensors: dict[str, torch.Tensor] = {}
    other_shape, adapted, placed = [], [], []
    for name, wanted in expected.items():
        tensor = found.get(prefix + name)
        if tensor is None:
            continue
        if name == first and _differs_in_channels(tensor.shape, wanted.shape):
            whole = _sound(path, prefix + name, tensor, wanted.dtype)
            tensors[name] = whole.sum(1, keepdim=True).expand(wanted.shape) / wanted.shape[1]
            adapted.append(name)
        elif tensor.shape == wanted.shape:
            tensors[name] = _sound(path, prefix + name, tensor, wanted.dtype)
        elif (table := resampled(tensor, name, body)) is not None:
            _sound(path, prefix + name, tensor, wanted.dtype)
            tensors[name] = table
            placed.append(name)
        else:
            other_shape.append(f"{name} {tuple(tensor.shape)}, expected {tuple(wanted.shape)}")
    missing = tuple(sorted(name for name in expected if prefix + name not in found))
    unused = tuple(sorted(found.keys() - {prefix + name for name in expected}))
    covered = sum(tensor.numel() for tensor in tensors.values())
    whole = sum(tensor.numel() for tensor in expected.values())
    if covered < LEAST_SHARE * whole:
        raise InputError(
            f"{path}: only {covered} of the network's {whole} numbers are in it: it belongs to another one. "
            f"It lacks {_some(missing)}; it has {_some(unused)}; of other shape: {_some(tuple(other_shape))}"
        )
    return Match(tensors, prefix, missing, unused, tuple(other_shape), tuple(adapted), tuple(placed))


def _differs_in_channels(found: torch.Size, wanted: torch.Size) -> bool:
    """Say whether kernels differ in their input channels alone.

    Such a first kernel is summed over them and spread, so that a grey picture gives what it gave in colour.
    """
    return len(found) == 4 and found != wanted and (found[0], *found[2:]) == (wanted[0], *wanted[2:])


def _sound(path: object, name: str, tensor: torch.Tensor, wanted: torch.dtype) -> torch.Tensor:
    """Return what a body may take: brief floats as float32, which holds them exactly, and counters."""
    if not wanted.is_floating_point:
        if tensor.dtype != wanted:
            raise InputError(f"{path}: tensor {name} is {tensor.dtype}; expected {wanted}")
        return tensor
    if tensor.dtype not in BRIEF:
        raise InputError(f"{path}: tensor {name} is {tensor.dtype}; expected float32, float16 or bfloat16")
    if not bool(torch.isfinite(tensor).all()):
        wrong = int((~torch.isfinite(tensor)).sum())
        raise InputError(f"{path}: tensor {name} holds {wrong} NaN or infinite numbers of {tensor.numel()}")
    return tensor.to(wanted)


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "nothing") + more
