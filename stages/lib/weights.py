"""Weights files: safetensors whose metadata say what the network is, and a reader that trusts nothing.

torch's own loading casts other dtypes silently and takes NaN (measured on 2.15), so this one checks every
name, shape, dtype and number, and the card, against what the caller expects. The file is read once into
memory: what was checked is what is used, whatever happens to the file meanwhile. No pickle is ever opened.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from stages.lib.artifacts import atomic
from stages.lib.errors import InputError, prefixed
from stages.lib.nets import Architecture, Body, Classifier
from stages.lib.normalise import Normalisation

ENCODER, MODEL = "encoder.safetensors", "model.safetensors"
"""File names in the folders of pretrain, and of train and distill."""

FORMAT = "assay-weights-1"
CARD = "assay"
"""One metadata entry holds the whole card as JSON: safetensors does not promise an order of several."""

MAX_HEADER_BYTES = 10_000_000
"""A header this long would describe 100,000 tensors; more is an attack or a mistake."""

SHOWN_KEYS = 20

MADE_HERE = "the file belongs to other data or params; run `dvc repro`"
"""What to do about a file of the chain's own that does not fit."""


@dataclass(frozen=True)
class Card:
    """What travels with the weights. kind: encoder or classifier; parents: SHA-256 of what it came from."""

    kind: str
    architecture: Architecture
    classes: tuple[str, ...]
    normalisation: Normalisation
    parents: Mapping[str, str]


def save_weights(path: Path, tensors: Mapping[str, torch.Tensor], card: Card) -> None:
    """Write the same bytes for the same weights and card."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    facts = {"format": FORMAT, **asdict(card), "parents": dict(card.parents)}
    content = save(ready, {CARD: json.dumps(facts, sort_keys=True, ensure_ascii=False)})
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def load_encoder(path: Path, architecture: Architecture) -> tuple[dict[str, torch.Tensor], Card, str]:
    """Return an encoder's tensors by Body's names, its card and its file's SHA-256.

    InputError unless it is exactly this architecture's body.
    """
    tensors, card, sha256 = _of_these_images(path, architecture)
    if not tensors:
        raise InputError(
            f"{path}: it holds a normalisation and no body, as `pretrain` writes it where train.init is not "
            "pretrain; set it and run `dvc repro pretrain`"
        )
    _fits(path, tensors, Body(architecture.channels, architecture.widths))
    return tensors, card, sha256


def _of_these_images(path: Path, architecture: Architecture) -> tuple[dict[str, torch.Tensor], Card, str]:
    tensors, card, sha256 = _read(path, "encoder")
    _same(path, "architecture", _shape_of(card.architecture), _shape_of(architecture))
    return tensors, card, sha256


def load_normalisation(path: Path, architecture: Architecture) -> Normalisation:
    """Return what an encoder's images were normalised with, whatever its widths; no weight of it is taken."""
    _, card, _ = _read(path, "encoder")
    check_pixels(path, card, (0, architecture.image_size, architecture.image_size, architecture.channels))
    return card.normalisation


def load_classifier(path: Path, classes: Sequence[str]) -> tuple[Classifier, Card, str]:
    """Rebuild a classifier in evaluation mode, with its card and its file's SHA-256.

    InputError unless it predicts exactly these classes in this order.
    """
    return _rebuilt(path, classes, in_order=True)


def load_classifier_by_name(path: Path, classes: Sequence[str], remedy: str) -> tuple[Classifier, Card, str]:
    """Do so for a classifier that predicts these classes in any order: the card says in which.

    remedy: what to do about a file that does not fit, in the words of whoever named it.
    """
    return _rebuilt(path, classes, remedy, in_order=False)


def _rebuilt(
    path: Path, classes: Sequence[str], remedy: str = MADE_HERE, *, in_order: bool
) -> tuple[Classifier, Card, str]:
    tensors, card, sha256 = _read(path, "classifier", remedy)
    own, wanted = list(card.classes), list(classes)
    _same(path, "classes", own if in_order else sorted(own), wanted if in_order else sorted(wanted), remedy)
    _same(path, "number of classes", card.architecture.n_classes, len(classes), remedy)
    with prefixed(f"{path}: its "):
        network = Classifier(card.architecture)
    _fits(path, tensors, network)
    network.load_state_dict(tensors)
    return network.eval(), card, sha256


def check_pixels(path: Path, card: Card, pixels_shape: tuple[int, ...], remedy: str = MADE_HERE) -> None:
    """Refuse weights made for other images than (N, H, W, C) of `pixels_shape`."""
    expected = (card.architecture.image_size, card.architecture.image_size, card.architecture.channels)
    _same(path, "image size and channels", expected, tuple(pixels_shape[1:]), remedy)


def read_card(path: Path, remedy: str) -> Card:
    """Return what a classifier's file says of it, without its weights; InputError where it is none."""
    card = _card(path, _metadata(path, _content(path, remedy)))
    _same(path, "kind", card.kind, "classifier", remedy)
    return card


def _shape_of(architecture: Architecture) -> dict[str, object]:
    return {
        "channels": architecture.channels,
        "image_size": architecture.image_size,
        "widths": list(architecture.widths),
    }


def _same(path: Path, what: str, found: object, expected: object, remedy: str = MADE_HERE) -> None:
    if found != expected:
        raise InputError(f"{path}: its {what} is {found}, expected {expected}: {remedy}")


def _content(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such weights file: {remedy}") from error


def _read(path: Path, kind: str, remedy: str = MADE_HERE) -> tuple[dict[str, torch.Tensor], Card, str]:
    content = _content(path, remedy)
    card = _card(path, _metadata(path, content))
    _same(path, "kind", card.kind, kind, remedy)
    try:
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: a damaged safetensors file ({error}): {remedy}") from error
    _are_finite(path, tensors)
    return tensors, card, hashlib.sha256(content).hexdigest()


def _metadata(path: Path, content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, len(content) - 8):
        raise InputError(f"{path}: not a safetensors file; only safetensors is read, never pickle")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a safetensors file (its header is no JSON); never pickle") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _card(path: Path, metadata: Mapping[str, Any]) -> Card:
    try:
        facts = json.loads(metadata[CARD])
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}")
        shape = facts["architecture"]
        with prefixed(f"{path}: its "):
            architecture = Architecture(**(shape | {"widths": tuple(int(n) for n in shape["widths"])}))
        return Card(
            str(facts["kind"]),
            architecture,
            tuple(str(name) for name in facts["classes"]),
            Normalisation(*(tuple(float(x) for x in facts["normalisation"][key]) for key in ("mean", "std"))),
            {str(name): str(digest) for name, digest in facts["parents"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: its metadata do not say what network this is ({error!r}); expected {FORMAT}"
        ) from error


def _fits(path: Path, tensors: Mapping[str, torch.Tensor], network: nn.Module) -> None:
    """Refuse other names, shapes and dtypes than the network's."""
    expected = network.state_dict()
    _no_names(path, "is missing", expected.keys() - tensors.keys())
    _no_names(path, "has unexpected", tensors.keys() - expected.keys())
    for name, tensor in tensors.items():
        _same(path, f"tensor {name}'s shape", tuple(tensor.shape), tuple(expected[name].shape))
        _same(path, f"tensor {name}'s dtype", str(tensor.dtype), str(expected[name].dtype))


def _no_names(path: Path, fault: str, names: Iterable[str]) -> None:
    listed = sorted(names)
    if listed:
        more = f" and {len(listed) - SHOWN_KEYS} more" if len(listed) > SHOWN_KEYS else ""
        raise InputError(
            f"{path}: {fault} {len(listed)} tensors: {', '.join(listed[:SHOWN_KEYS])}{more}; "
            f"the file belongs to another architecture"
        )


def _are_finite(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in sorted(tensors.items()):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            wrong = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"{path}: tensor {name} holds {wrong} NaN or infinite numbers of {tensor.numel()}"
            )
