"""A few val images whose predictions are followed from epoch to epoch.

In a healthy training their probabilities settle; they jump where the learning rate is too high, and hardly
move where it is too low (Karpathy, A Recipe for Training Neural Networks, "visualize prediction dynamics").
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.lib.artifacts import write_csv

if TYPE_CHECKING:
    import torch

FOLLOWED = "followed/"
"""What the figures of single images begin with in a row of the history; no curve shows them."""

MOST = 8
"""Lines that an eye still keeps apart."""


def chosen(n: int) -> tuple[int, ...]:
    """Return positions of at most MOST of `n` images, evenly spread: they lie in order of their classes."""
    return tuple(int(at) for at in np.linspace(0, n - 1, min(MOST, n)).round())


def probs_of_label(
    logits: "torch.Tensor", labels: "torch.Tensor", positions: Sequence[int]
) -> dict[str, float]:
    """Return the probability of its label for each image at `positions` of logits (N, K) and labels (N,)."""
    import torch

    at = torch.tensor(positions, dtype=torch.int64, device=logits.device)
    probs = torch.softmax(logits[at].double(), 1)[torch.arange(len(at), device=at.device), labels[at]]
    return {f"{FOLLOWED}{position}": value for position, value in zip(positions, probs.tolist(), strict=True)}


def write_followed(
    path: Path, history: Sequence[Mapping[str, int | float | str]], sample_ids: Sequence[str]
) -> None:
    """Write a row per epoch and followed image; sample_ids are those of the whole val split, in its order."""
    rows = [
        (row["epoch"], sample_ids[int(name.removeprefix(FOLLOWED))], value)
        for row in history
        for name, value in row.items()
        if name.startswith(FOLLOWED)
    ]
    write_csv(path, ["epoch", "sample_id", "prob_of_label"], rows)
