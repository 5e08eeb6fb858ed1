"""Predict: what every network, view and ensemble believes about val and test, and a review queue.

Writes one predictions artifact per name: seed<k>, ensemble (the members' mean of probabilities) and student,
each also with test-time augmentation (`_tta`: the mean over the listed views). Which views help, "none" among
them, and how members are combined is chosen on val (`lib/val_choice.py`; figures in metrics.json): where that
is neither of the two ensembles, it is the prediction `combined`. Test is predicted here, and judged in
`evaluate` alone. Neutral samples, which curation set aside, are pre-labelled by the ensemble and queued for
people, most useful first.

Reads ingest, curate, split, train and distill; writes predictions/<name>.parquet, review_queue.csv, and what
the ensemble names test images that were made worse, one kind and strength at a time (robustness.parquet).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from stages.lib.artifacts import read_table
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.picture_identity import same_picture
from stages.lib.predictions import Predictions, write_predictions
from stages.lib.review_queue import Waiting, write_queue
from stages.lib.robustness_table import FILE, write_answers
from stages.lib.training_params import Seeds
from stages.lib.view_params import ViewParams, views_of

if TYPE_CHECKING:
    from stages.lib.ensemble import Member
    from stages.lib.views import View

PREDICTED = ("val", "test")


Shares = Annotated[float, Field(gt=0, le=1)]


class RobustnessParams(Section):
    """Strengths of each change of the test images (`lib/robustness.py`), and how many images are shown."""

    images: int = Field(ge=1)
    resolution: tuple[Shares, ...]
    aspect: tuple[Annotated[float, Field(ge=0.1, le=10)], ...]
    jpeg: tuple[Annotated[float, Field(ge=1, le=100)], ...]
    brightness: tuple[Annotated[float, Field(gt=0, le=10)], ...]
    blur: tuple[Shares, ...]
    shift: tuple[Shares, ...]


class Params(Section):
    """Section `predict`."""

    views: tuple[ViewParams, ...] = Field(min_length=1, max_length=64)
    combinations: tuple[Literal["mean", "geometric", "weighted", "greedy", "soup", "greedy_soup"], ...]
    robustness: RobustnessParams


class TrainView(Section):
    """What prediction shares with `train`: which members there are."""

    seeds: Seeds


def beliefs(
    members: "Mapping[str, Member]", student: "Member", pixels: np.ndarray, views: "Sequence[View]"
) -> dict[str, np.ndarray]:
    """Return pred_probs (N, K) float32 of every member, `ensemble` and `student`, for pixels (N, H, W, C)."""
    from stages.lib.device import torch_device
    from stages.lib.ensemble import ensemble_probs
    from stages.lib.feeding import images_near

    images = images_near(pixels, torch_device(pixels.shape[1]))
    parts = {name: member.probs(images, views) for name, member in members.items()}
    parts |= {"ensemble": ensemble_probs(list(parts.values())), "student": student.probs(images, views)}
    return {name: probs.cpu().numpy() for name, probs in parts.items()}


def figures(pred_probs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return top-1 accuracy and log loss of pred_probs (N, K) against labels (N,), N at least 1."""
    n = len(labels)
    right = int((pred_probs.argmax(1) == labels).sum())
    believed = np.maximum(pred_probs[np.arange(n), labels].astype(float), np.finfo(np.float32).tiny)
    return {"n": n, "top1_accuracy": right / n, "log_loss": float(-np.log(believed).sum()) / n}


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
    from stages.lib.chosen_ensemble import choose
    from stages.lib.ensemble import load_member, load_members
    from stages.lib.views import PLAIN
    from stages.lib.weights import MODEL

    dataset = load_dataset(ingest, curate, split)
    loaded = load_members(members, train.seeds, dataset)
    student = load_member(distill / MODEL, dataset)
    positions = dataset.part(*PREDICTED)
    views = views_of(params.views)
    found = beliefs(loaded, student, dataset.pixels[positions], PLAIN)
    seen = beliefs(loaded, student, dataset.pixels[positions], views)
    found |= {f"{name}_tta": probs for name, probs in seen.items()}
    chosen, told = choose(dataset, positions, loaded, views, params.combinations)
    if chosen is not None:
        found["combined"] = chosen
    write_all(out, dataset, positions, found)
    waiting = waiting_samples(curate, dataset, loaded, student)
    write_queue(out / "review_queue.csv", waiting, dataset.classes)
    n_changes = write_robustness(out / FILE, dataset, loaded, params.robustness)
    return {
        "chosen": told,
        "val": val_figures(dataset, positions, found),
        "n_review_queue": len(dataset.part("neutral")),
        "n_views": len(views),
        "n_changes": n_changes,
    }


def write_robustness(
    path: Path, dataset: Dataset, members: "Mapping[str, Member]", changes: RobustnessParams
) -> int:
    """Write what the ensemble names changed test images; return how many changes there were."""
    from stages.lib.device import torch_device
    from stages.lib.ensemble import members_mean
    from stages.lib.feeding import images_near
    from stages.lib.robustness import said_under
    from stages.lib.views import PLAIN

    test = dataset.part("test")
    # Evenly through the manifest: no class or source alone.
    shown = test[np.unique(np.linspace(0, len(test) - 1, min(len(test), changes.images)).astype(np.int64))]
    device = torch_device(dataset.pixels.shape[1])
    said = said_under(
        images_near(dataset.pixels[shown], device),
        changes.model_dump(exclude={"images"}),
        lambda worse: members_mean(members, worse, PLAIN),
        device,
    )
    ids = [dataset.sample_ids[position] for position in shown]
    write_answers(path, ids, {change: classes.cpu().numpy() for change, classes in said.items()})
    return len(said)


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


def waiting_samples(
    curate: Path, dataset: Dataset, members: "Mapping[str, Member]", student: "Member"
) -> Waiting | None:
    """Return the neutral samples with what every member believes of them; None where there is none."""
    from stages.lib.views import PLAIN

    neutral = dataset.part("neutral")
    if not len(neutral):
        return None
    columns = ["given_label", "reason", "source"]
    known = read_table(curate / "samples.parquet", columns).take(neutral).to_pydict()
    pixels = dataset.pixels[neutral]
    believed = beliefs(members, student, pixels, PLAIN)
    return Waiting(
        sample_ids=[dataset.sample_ids[position] for position in neutral],
        given_labels=known["given_label"],
        reasons=known["reason"],
        sources=known["source"],
        pictures=same_picture(pixels),
        beliefs=np.stack([believed[name] for name in members]),
    )


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
