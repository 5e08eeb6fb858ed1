"""What classic references share: how candidates are judged on val, and which rows they learn from."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.lib.metrics import log_loss, top1
from stages.lib.pooling import planes

MOST_SIDE = 16
"""Pixels a side: 768 numbers in colour, as many as the embedding has. Finer detail only costs and blurs
distances: neighbours by pixels are found by what is large in a picture."""

CHUNK = 4096
"""Images that are averaged at once."""


@dataclass(frozen=True)
class Reference:
    """pred_probs (M, K) of the asked samples, and how it was chosen, for metrics.json."""

    pred_probs: np.ndarray
    told: dict[str, Any]


def score(pred_probs: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return what candidates are compared by: accuracy, then minus the log loss; higher is better."""
    return float((top1(pred_probs) == labels).mean()), -log_loss(pred_probs, labels)


def at_most(rows: np.ndarray, labels: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return at most `most` of the rows (N,), in their order, each class by its share of labels (N,).

    A class keeps one at least, even beyond `most`.
    """
    if len(rows) <= most:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels[order])
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = np.maximum(1, np.floor(counts * most / len(rows)))[labels[order]]
    return np.asarray(rows[np.sort(order[rank < kept])])


def spaces(pixels: np.ndarray, embeddings: np.ndarray) -> dict[str, np.ndarray]:
    """Return what distances are measured in: pixels, averaged down to MOST_SIDE a side, and the embedding.

    Rows of float32, (N, D) each.
    """
    chunks = [
        planes(pixels[at : at + CHUNK], MOST_SIDE).reshape(len(pixels[at : at + CHUNK]), -1)
        for at in range(0, len(pixels), CHUNK)
    ]
    return {"embedding": embeddings, "pixels": np.concatenate(chunks)}
