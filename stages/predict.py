"""Predict: what every network, view and ensemble believes about val and test, and a review queue.

Writes one predictions artifact per name: seed<k>, ensemble (the members' mean of probabilities) and student,
each also with test-time augmentation (`_tta`: the mean over the listed views). Whether views help is told by
their val figures in metrics.json; test is predicted here and judged in `evaluate` alone. Neutral samples,
which curation set aside, are pre-labelled by the ensemble and queued for people, most uncertain first.

Reads ingest, curate, split, train and distill; writes predictions/<name>.parquet and review_queue.csv.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from stages.lib.artifacts import read_table, write_csv
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.predictions import Predictions, write_predictions
from stages.lib.training_params import Seeds

if TYPE_CHECKING:
    from stages.lib.ensemble import Member
    from stages.lib.views import View

PREDICTED = ("val", "test")
QUEUE_COLUMNS = ("sample_id", "predicted_label", "confidence", "entropy", "given_label")


class ViewParams(Section):
    """One view: pixels to the right and down, mirrored or not, and its weight in the mean."""

    x: int = Field(ge=-64, le=64)
    y: int = Field(ge=-64, le=64)
    flip: bool
    weight: float = Field(gt=0, le=1000)


class Params(Section):
    """Section `predict`."""

    views: tuple[ViewParams, ...] = Field(min_length=1, max_length=64)


class TrainView(Section):
    """What prediction shares with `train`: which members there are."""

    seeds: Seeds


def beliefs(
    members: "Mapping[str, Member]", student: "Member", pixels: np.ndarray, views: "Sequence[View]"
) -> dict[str, np.ndarray]:
    """Return pred_probs (N, K) float32 of every member, `ensemble` and `student`, for pixels (N, H, W, C)."""
    from stages.lib.device import torch_device
    from stages.lib.ensemble import ensemble_probs
    from stages.lib.tasks import as_images

    images = as_images(pixels, torch_device(pixels.shape[1]))
    parts = {name: member.probs(images, views) for name, member in members.items()}
    parts |= {"ensemble": ensemble_probs(list(parts.values())), "student": student.probs(images, views)}
    return {name: probs.cpu().numpy() for name, probs in parts.items()}


def figures(pred_probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return top-1 accuracy and log loss of pred_probs (N, K) against labels (N,), N at least 1."""
    n = len(labels)
    right = int((pred_probs.argmax(1) == labels).sum())
    believed = np.maximum(pred_probs[np.arange(n), labels].astype(float), np.finfo(np.float32).tiny)
    return {"n": n, "top1_accuracy": right / n, "log_loss": float(-np.log(believed).sum()) / n}


def entropy(pred_probs: np.ndarray) -> np.ndarray:
    """Return the entropy (N,) in nats of pred_probs (N, K): 0 certain, log K knows nothing."""
    probs = pred_probs.astype(float)
    logs = np.log(np.where(probs > 0, probs, 1.0))
    return np.asarray(-(probs * logs).sum(1))


def review_rows(
    sample_ids: Sequence[str],
    pred_probs: np.ndarray,
    given_labels: Sequence[str | None],
    classes: Sequence[str],
) -> list[tuple[object, ...]]:
    """Return one QUEUE_COLUMNS row per sample, most uncertain first, ties by sample_id."""
    spread = entropy(pred_probs)
    order = sorted(range(len(sample_ids)), key=lambda at: (-spread[at], sample_ids[at]))
    best = pred_probs.argmax(1)
    return [
        (sample_ids[at], classes[best[at]], pred_probs[at, best[at]], spread[at], given_labels[at])
        for at in order
    ]


def run(
    params: Params,
    *,
    ingest: Path,
    curate: Path,
    split: Path,
    members: Path,
    distill: Path,
    out: Path,
    train: TrainView,
) -> dict[str, Any]:
    """Write every prediction file and the review queue."""
    from stages.lib.ensemble import load_member, load_members
    from stages.lib.views import PLAIN, View
    from stages.lib.weights import MODEL

    dataset = load_dataset(ingest, curate, split)
    loaded = load_members(members, train.seeds, dataset)
    student = load_member(distill / MODEL, dataset)
    positions = dataset.part(*PREDICTED)
    views = tuple(View(view.x, view.y, view.flip, view.weight) for view in params.views)
    found = beliefs(loaded, student, dataset.pixels[positions], PLAIN)
    seen = beliefs(loaded, student, dataset.pixels[positions], views)
    found |= {f"{name}_tta": probs for name, probs in seen.items()}
    write_all(out, dataset, positions, found)
    neutral = dataset.part("neutral")
    queue = beliefs(loaded, student, dataset.pixels[neutral], PLAIN)["ensemble"] if len(neutral) else None
    write_queue(out, curate, dataset, neutral, queue)
    return {
        "val": val_figures(dataset, positions, found),
        "n_review_queue": len(neutral),
        "n_views": len(views),
    }


def write_all(out: Path, dataset: Dataset, positions: np.ndarray, found: Mapping[str, np.ndarray]) -> None:
    """Write predictions/<name>.parquet for every name."""
    ids = tuple(dataset.sample_ids[position] for position in positions)
    split = tuple(str(name) for name in dataset.split[positions])
    for name, probs in found.items():
        write_predictions(out / "predictions" / f"{name}.parquet", Predictions(ids, split, probs))


def val_figures(
    dataset: Dataset, positions: np.ndarray, found: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Return each name's figures on val, which is where choices are made; empty without val samples."""
    on_val = dataset.split[positions] == "val"
    if not on_val.any():
        return {}
    labels = dataset.labels[positions][on_val]
    return {name: figures(probs[on_val], labels) for name, probs in found.items()}


def write_queue(
    out: Path, curate: Path, dataset: Dataset, neutral: np.ndarray, pred_probs: np.ndarray | None
) -> None:
    """Write review_queue.csv: the header alone when nothing is neutral."""
    rows: list[tuple[object, ...]] = []
    if pred_probs is not None:
        samples = read_table(curate / "samples.parquet", ["given_label"])
        given = samples["given_label"].to_pylist()
        ids = [dataset.sample_ids[position] for position in neutral]
        rows = review_rows(ids, pred_probs, [given[position] for position in neutral], dataset.classes)
    write_csv(out / "review_queue.csv", QUEUE_COLUMNS, rows)


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
