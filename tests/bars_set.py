"""Bars as the loop takes them: a training set in memory, its labels, a network, and what it has become."""

import torch
from torch import nn

from stages.lib.counters import generator
from stages.lib.loop import TrainingSet
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import Normalisation
from tests.prepared_data import bars

FACTS = Normalisation((0.3,), (0.25,))


def bars_set(n: int = 24) -> tuple[TrainingSet, torch.Tensor]:
    """Return n pictures (N, C, H, W) in a training set, and labels (N,)."""
    pixels, labels = bars(n)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return TrainingSet(images, tuple(f"s{at}" for at in range(n)), FACTS), torch.from_numpy(labels)


def healthy() -> Classifier:
    """Return a new network for these pictures."""
    randomness = generator(torch.device("cpu"), "healthy")
    return new_classifier(Architecture(1, 8, (8, 16), 3), torch.zeros(3), randomness)


def same(one: nn.Module, other: nn.Module) -> bool:
    """Say whether every number of both is the same."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
