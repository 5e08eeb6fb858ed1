"""k nearest neighbours as a reference (Fix & Hodges 1951; Cover & Hart 1967): what looks alike is alike.

Where it comes near the network, the classes are a matter of likeness in pixels or gradients, or val and test
are near copies of train. Cost: one product of matrices for each space and measure of distance, train rows
times val rows, and one more for what was chosen; voting costs in proportion to images, not to classes.
"""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from stages.lib.config import Section
from stages.lib.dataset import Dataset
from stages.lib.progress import track
from stages.lib.reference import Reference, at_most
from stages.lib.threads import blas_threads_for

Metric = Literal["euclidean", "cosine"]

CHUNK = 512
"""Images whose distances are held at once: 100 MB beside 50,000 train rows."""

COMPARED = 1 << 24
"""Pairs of neighbours that are compared at once: 16 MB, twice."""


class NeighbourParams(Section):
    """What val chooses from, and from how many train images neighbours are taken."""

    knn_k: tuple[Annotated[int, Field(ge=1, le=1000)], ...] = Field(min_length=1)
    knn_metrics: tuple[Metric, ...] = Field(min_length=1)
    knn_max_train: int = Field(ge=1)


def fit_neighbours(
    spaces: Mapping[str, np.ndarray], dataset: Dataset, rows: np.ndarray, params: NeighbourParams, seed: int
) -> Reference:
    """Choose space, metric and k on val, and predict the samples `rows` (M,).

    Best means the highest accuracy on val, then the lowest log loss, then what is listed first.
    """
    labels, val = dataset.labels, dataset.part("val")
    train = dataset.part("train")
    base = at_most(train, labels[train], params.knn_max_train, seed)
    prior = np.bincount(labels[base], minlength=len(dataset.classes)) / len(base)
    counts = [k for k in params.knn_k if k <= len(base)] or [len(base)]
    best: tuple[tuple[float, float], str, Metric, int] | None = None
    tried = list(product(spaces, params.knn_metrics))
    for space, metric in track(tried, "nearest neighbours"):
        vectors = spaces[space]
        near = labels[base][nearest_rows(vectors, base, val, max(counts), metric)]
        for k in counts:
            scored = vote_score(near[:, :k], prior, labels[val])
            if best is None or scored > best[0]:
                best = scored, space, metric, k
    assert best is not None
    scored, space, metric, k = best
    near = labels[base][nearest_rows(spaces[space], base, rows, k, metric)]
    told = {"k": k, "metric": metric, "space": space, "val_top1_accuracy": scored[0]}
    return Reference(votes(near, prior), told | {"n_train": len(base), "capped": len(base) < len(train)})


def nearest_rows(
    vectors: np.ndarray, base: np.ndarray, rows: np.ndarray, k: int, metric: Metric
) -> np.ndarray:
    """Return (M, k): places in `base` of the k nearest to each of `rows`, nearest first."""
    known = _laid_out(vectors[base], metric)
    centre = known.mean(axis=0)
    known -= centre
    half = 0.5 * np.einsum("nd,nd->n", known, known)
    found = np.empty((len(rows), k), np.int64)
    with blas_threads_for(known.size):
        for at in range(0, len(rows), CHUNK):
            asked = _laid_out(vectors[rows[at : at + CHUNK]], metric) - centre
            # Half the squared distance, less what is alike for all of base.
            far = half - asked @ known.T
            near = (
                np.argpartition(far, k - 1, axis=1)[:, :k]
                if k < len(base)
                else np.tile(np.arange(k), (len(far), 1))
            )
            near.sort(axis=1)
            order = np.take_along_axis(far, near, axis=1).argsort(axis=1, kind="stable")
            found[at : at + CHUNK] = np.take_along_axis(near, order, axis=1)
    return found


def _laid_out(vectors: np.ndarray, metric: Metric) -> np.ndarray:
    """Return float32 rows; of length 1 for the cosine, where Euclid's distance gives the same order."""
    ready = np.array(vectors, dtype=np.float32)
    if metric == "cosine":
        ready /= np.maximum(np.linalg.norm(ready, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return ready


def votes(near: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return probabilities (M, K) float32: shares of neighbours' labels (M, k), the prior as one more.

    So no class of train is impossible, and of equal votes the more common class wins.
    """
    m, k = near.shape
    probs = np.repeat(prior[None].astype(np.float32), m, axis=0)
    np.add.at(probs, (np.repeat(np.arange(m), k), near.ravel()), np.float32(1))
    probs /= np.float32(k + 1)
    return probs


def vote_score(near: np.ndarray, prior: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return `reference.score` of the votes without laying out all K classes: there may be thousands."""
    if not len(near):
        return 0.0, 0.0  # without val nothing is better than what is listed first
    rows = max(1, COMPARED // near.shape[1] ** 2)
    parts = [
        _votes_of(near[at : at + rows], prior, labels[at : at + rows]) for at in range(0, len(near), rows)
    ]
    right, given = (np.concatenate(part) for part in zip(*parts, strict=True))
    floor = float(np.finfo(np.float32).eps)
    return float(right.mean()), float(np.log(np.clip(given, floor, 1.0)).mean())


def _votes_of(near: np.ndarray, prior: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows (n,) are right, and the probability (n,) of their label."""
    own = (near[:, :, None] == near[:, None, :]).sum(axis=2) + prior[near]
    # The most votes win, and of equal sums the class that stands first, as argmax over all classes has it.
    highest = own == own.max(axis=1, keepdims=True)
    said = np.where(highest, near, len(prior)).min(axis=1)
    given = ((near == labels[:, None]).sum(axis=1) + prior[labels]) / (near.shape[1] + 1)
    return said == labels, given
