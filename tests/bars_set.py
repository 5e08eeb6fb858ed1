"""Bars as the loop takes them: a training set in memory, and its labels."""

import torch

from stages.lib.loop import TrainingSet
from stages.lib.normalise import Normalisation
from tests.prepared_data import bars

FACTS = Normalisation((0.3,), (0.25,))


def bars_set(n: int = 24) -> tuple[TrainingSet, torch.Tensor]:
    """Return n pictures (N, C, H, W) in a training set, and labels (N,)."""
    pixels, labels = bars(n)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return TrainingSet(images, tuple(f"s{at}" for at in range(n)), FACTS), torch.from_numpy(labels)
