"""Where a body starts: nowhere, at the pretrain stage's weights, at timm's, or at those of a given file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import nn

from stages.lib.nets import Architecture
from stages.lib.network_names import TIMM
from stages.lib.normalise import Normalisation
from stages.lib.progress import say
from stages.lib.third_party import read_third_party
from stages.lib.timm_nets import hub_weights
from stages.lib.weight_matching import match_weights
from stages.lib.weights import load_encoder, load_normalisation

if TYPE_CHECKING:
    from stages.lib.training_params import Init


@dataclass(frozen=True)
class Origin:
    """What train says of where its body starts: init, and the file with its SHA-256 where init is `file`."""

    init: "Init" = "random"
    file: str = ""
    sha256: str = ""

    @property
    def elsewhere(self) -> bool:
        """Whether the weights are somebody else's, which are there before anything is trained here."""
        return self.init in ("timm", "file")


RANDOM = Origin()


@dataclass(frozen=True)
class Start:
    """normalisation to train with, parents by name and SHA-256, and what was taken, for people to read."""

    normalisation: Normalisation
    parents: Mapping[str, str]
    facts: dict[str, Any]


def start_body(
    body: nn.Module, architecture: Architecture, init: "Init", encoder: Path, file: str, sha256: str
) -> Start:
    """Fill `body` and say from where.

    The normalisation is the encoder file's, which knows the train split, unless timm's weights bring theirs.
    That network and init go together is what train's params have seen to.
    """
    if init != "pretrain":
        normalisation = load_normalisation(encoder, architecture)
        if init == "random":
            return Start(normalisation, {}, {"init": init})
        return start_from_elsewhere(body, architecture, Origin(init, file, sha256), normalisation)
    tensors, card, digest = load_encoder(encoder, architecture)
    body.load_state_dict(tensors)
    return Start(card.normalisation, {"encoder": digest}, {"init": init, "n_matched": len(tensors)})


def start_from_elsewhere(
    body: nn.Module, architecture: Architecture, origin: Origin, train: Normalisation
) -> Start:
    """Fill `body` with timm's weights or a file's; `train` is the normalisation of the train split."""
    if origin.init == "timm":
        name = architecture.name.removeprefix(TIMM)
        tensors, normalisation = hub_weights(name, architecture.channels, architecture.image_size)
        body.load_state_dict(tensors)
        fetched = {name: tensor.contiguous() for name, tensor in tensors.items()}
        parents = {"timm": hashlib.sha256(save(fetched)).hexdigest()}
        return Start(normalisation, parents, {"init": origin.init, "n_matched": len(tensors)})
    theirs = read_third_party(Path(origin.file), origin.sha256)
    found = match_weights(origin.file, theirs.tensors, body)
    say(f"{origin.file}{' ' if theirs.taken else ''}{theirs.taken}: {found.told()}")
    current: dict[str, torch.Tensor] = body.state_dict()
    body.load_state_dict(current | found.tensors)
    facts = {"init": origin.init, **theirs.facts(), **found.facts()}
    return Start(train, {"init_file": origin.sha256}, facts)
