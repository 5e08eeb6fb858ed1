"""The networks of all seeds together: loaded, checked against the data and each other, and averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from stages.lib.dataset import Dataset
from stages.lib.device import torch_device
from stages.lib.errors import InputError
from stages.lib.nets import Classifier
from stages.lib.views import View, class_probs
from stages.lib.weights import MODEL, Card, check_pixels, load_classifier


@dataclass(frozen=True)
class Member:
    """One trained network in evaluation mode, what it is, and the hash of its file."""

    network: Classifier
    card: Card
    sha256: str

    def probs(self, images: torch.Tensor, views: Sequence[View]) -> torch.Tensor:
        """Return pred_probs (N, K) for images (N, C, H, W) uint8."""
        return class_probs(self.network, images, self.card.normalisation, views)


def load_member(path: Path, dataset: Dataset) -> Member:
    """Load a classifier that was made for this data set's images and classes; InputError otherwise."""
    network, card, sha256 = load_classifier(path, dataset.classes)
    check_pixels(path, card, dataset.pixels.shape)
    return Member(network.to(torch_device(dataset.pixels.shape[1])), card, sha256)


def load_members(folder: Path, seeds: Sequence[int], dataset: Dataset) -> dict[str, Member]:
    """Load `folder`/seed<k> for every seed, by name; InputError when normalised differently."""
    members = {f"seed{seed}": load_member(folder / f"seed{seed}" / MODEL, dataset) for seed in seeds}
    if len({member.card.normalisation for member in members.values()}) > 1:
        raise InputError(f"{folder}: its networks were normalised differently; run `dvc repro`")
    return members


def members_mean(members: Mapping[str, Member], images: torch.Tensor, views: Sequence[View]) -> torch.Tensor:
    """Return what the members believe together (N, K) of images (N, C, H, W) uint8."""
    return ensemble_probs([member.probs(images, views) for member in members.values()])


def ensemble_probs(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the members' mean of probabilities (N, K), every member alike."""
    return torch.stack(list(parts)).mean(0)
