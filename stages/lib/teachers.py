"""Who teaches a student: this run's members, or networks from files, each through the listed views."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from stages.lib.artifacts import read_table
from stages.lib.dataset import Dataset
from stages.lib.device import torch_device
from stages.lib.ensemble import Member
from stages.lib.errors import InputError, prefixed
from stages.lib.hints import at_size, captured
from stages.lib.payload import SAMPLES
from stages.lib.pinned_file import Pinned
from stages.lib.progress import say
from stages.lib.relatives import WITHOUT_LABELS, apart_from
from stages.lib.teacher_files import OTHER, check_pin, files_of
from stages.lib.views import PLAIN, View, see
from stages.lib.weights import check_pixels, load_classifier_by_name


@dataclass(frozen=True)
class Look:
    """What teachers say of a batch: logits (S, B, K) of every network and view, their weights (S,).

    maps: features (B, C, H, W) of each network at its hint's layer, of the plain picture.
    """

    logits: torch.Tensor
    weights: tuple[float, ...]
    maps: Sequence[torch.Tensor]

    def probs(self, temperature: float) -> torch.Tensor:
        """Return the mean of their probabilities (B, K) at the temperature."""
        return self._mean(torch.softmax(self.logits / temperature, 2))

    def mean_logits(self) -> torch.Tensor:
        """Return the mean of their logits (B, K)."""
        return self._mean(self.logits)

    def hint(self, size: tuple[int, int]) -> torch.Tensor:
        """Return all networks' features side by side, averaged down to maps of `size`."""
        return torch.cat([at_size(one, size) for one in self.maps], 1)

    def _mean(self, values: torch.Tensor) -> torch.Tensor:
        if len(set(self.weights)) == 1:
            return values.mean(0)
        shares = values.new_tensor(self.weights) / sum(self.weights)
        return (shares[:, None, None] * values).sum(0)


@dataclass(frozen=True)
class Teacher:
    """Networks in evaluation mode, and the views in which they see what the student sees.

    order (K,): where each class of the data stands among the networks' own; None: as it is. layers: of each
    network, the layer whose features are hints; empty: there are none.
    """

    networks: Sequence[nn.Module]
    views: Sequence[View] = PLAIN
    order: torch.Tensor | None = None
    layers: Sequence[str] = ()

    def look(self, images: torch.Tensor) -> Look:
        """Return what they say of images (B, C, H, W), normalised and augmented; no gradient flows back."""
        said: list[torch.Tensor] = []
        maps: list[torch.Tensor] = []
        with torch.no_grad():
            for network, layer in zip(
                self.networks, self.layers or (None,) * len(self.networks), strict=True
            ):
                seen: list[torch.Tensor] = []
                for view in self.views:
                    with captured(network, layer if view.is_plain and not seen else None, seen):
                        said.append(network(see(images, view)))
                if layer is not None and not seen:
                    with captured(network, layer, seen):
                        network(images)
                maps += seen
        logits = torch.stack(said)
        weights = tuple(view.weight for view in self.views) * len(self.networks)
        return Look(logits if self.order is None else logits[:, :, self.order], weights, maps)


def teachers_from(
    path: Path, sha256: str, dataset: Dataset, groups: np.ndarray, curate: Path
) -> dict[str, Member]:
    """Load the networks in a safetensors file, or in a release's folder, that know these classes by name.

    InputError when they are not the pinned files, know other classes, were made for other images or other
    normalisations than each other, or when the release's own record says that they learned from what is test
    here, or from an image without a label here that shares a group (N,) with one.
    """
    pinned = Pinned("distill.teacher", path, sha256)
    files = files_of(pinned)
    device = torch_device(dataset.pixels.shape[1])
    found: dict[str, Member] = {}
    with prefixed("distill.teacher_file: "):
        for name, file in files.items():
            network, card, digest = load_classifier_by_name(file, dataset.classes, OTHER)
            check_pixels(file, card, dataset.pixels.shape, OTHER)
            found[name] = Member(network.to(device), card, digest)
        if len({(member.card.normalisation, member.card.classes) for member in found.values()}) > 1:
            raise InputError(f"{path}: its networks were made for different pictures or classes")
    check_pin(pinned, {file: found[name].sha256 for name, file in files.items()})
    if (path / SAMPLES).is_file():
        _saw_no_test(path, dataset, groups, curate)
    else:
        say(
            f"{path} does not record what it learned from: where it saw test images, the student is flattered"
        )
    return found


def _saw_no_test(folder: Path, dataset: Dataset, groups: np.ndarray, curate: Path) -> None:
    """Compare by the bytes of the files: what is recorded nowhere, a copy that is not here, stays unknown."""
    record = read_table(folder / SAMPLES, ["sha256", "split"])
    pairs = zip(record["sha256"].to_pylist(), record["split"].to_pylist(), strict=True)
    learned = {digest for digest, split in pairs if split not in ("test", "")}
    digests = read_table(curate / "samples.parquet", ["sha256"])["sha256"].to_pylist()
    others = dataset.part(*WITHOUT_LABELS)
    related = np.setdiff1d(others, apart_from(dataset, groups, others, ("test",)))
    hidden = np.r_[dataset.part("test"), related].astype(int)
    seen = [at for at in hidden.tolist() if digests[at] in learned]
    if seen:
        raise InputError(
            f"{folder}: this teacher learned from {len(seen)} images that are test here or resemble one, the "
            f"first is {dataset.sample_ids[seen[0]]}: what it teaches would flatter the student"
        )


def order_of(member: Member, dataset: Dataset) -> torch.Tensor | None:
    """Return where each class of the data stands among the network's; None where the order is the same."""
    own = member.card.classes
    if own == dataset.classes:
        return None
    device = member.network.head.bias.device
    return torch.tensor([own.index(name) for name in dataset.classes], device=device)
