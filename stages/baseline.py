"""Predict without a network: what a model must beat before its accuracy means anything.

From the pixels, embeddings, curated labels and splits come prediction files for val and test:
- `dummy`: the class shares of train; `dummy_most_frequent`: always its largest class. An accuracy is only
  worth what it exceeds them by, and with rare classes they reach far.
- `dummy_zeros`, `dummy_noise`, `dummy_histogram`: a network shown no picture: black, noise, or its pixels
  sorted by light (lib/blind_networks.py). What it knows, no shape has told it.
- `linear`, `linear_embedding`: logistic regression on standardised pixels and on the embedding, its
  regularisation chosen on val. What a straight line already does needs no network.
- `knn`, `svc`: nearest neighbours and support vectors, on pixels or embedding as val chooses
  (lib/neighbour_reference.py, lib/kernel_reference.py), from a bounded number of train images.
- `human`: people, where images have votes of two or more (lib/human_votes.py says from where): the shares of
  votes as a prediction, and in `human.json` agreement, majority and one person's accuracy, which needs no
  label (lib/human_accuracy.py). Without it nobody knows whether the errors that remain are the model's or the
  labels', and `human.json` says so.

Which of them run, `baseline.references` says. Cost: two seconds each to import scikit-learn and torch; on
1,797 digits 2.5 more for the rest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from stages.lib.artifacts import read_npy, read_table, write_json
from stages.lib.cli import stage_main
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.human_figures import human_figures
from stages.lib.human_votes import read_votes
from stages.lib.kernel_reference import KernelParams, fit_svc
from stages.lib.label_roles import labels_made_of_votes
from stages.lib.linear_reference import LinearParams, fit_linear
from stages.lib.neighbour_reference import NeighbourParams, fit_neighbours
from stages.lib.predictions import Predictions, write_predictions
from stages.lib.progress import say
from stages.lib.reference import Reference, spaces

if TYPE_CHECKING:
    from stages.lib.blind_networks import Kind

ReferenceName = Literal[
    "dummy_zeros", "dummy_noise", "dummy_histogram", "linear", "linear_embedding", "knn", "svc"
]
LINEAR = ("linear", "linear_embedding")
BLIND: Mapping[str, "Kind"] = {"dummy_zeros": "zeros", "dummy_noise": "noise", "dummy_histogram": "histogram"}


class Params(LinearParams, NeighbourParams, KernelParams):
    """Section `baseline` of params.yaml."""

    references: tuple[ReferenceName, ...]
    seed: int = Field(ge=0)


def class_prior(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the class shares (K,) float64 of labels (N,)."""
    return np.asarray(np.bincount(labels, minlength=n_classes) / len(labels))


def most_frequent(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (K,): all probability on the largest class, the first of equals.

    Its log loss stays finite because `metrics.log_loss` clips at float32's epsilon.
    """
    return np.asarray(np.eye(n_classes)[np.bincount(labels, minlength=n_classes).argmax()])


def human(
    manifest: Path, review: Path, dataset: Dataset, probs: np.ndarray
) -> tuple[dict[str, Any], Predictions | None]:
    """Return human.json, and the shares of votes as a prediction of each val and test sample that has any.

    probs (M, K) are a classifier's, of the val and test samples; it must not have learned from their votes.
    """
    table = read_table(manifest)
    votes = read_votes(table, review, dataset.classes)
    counts = votes.counts
    rows = dataset.part("val", "test")
    test = dataset.part("test")
    figures = human_figures(
        votes.of(test),
        dataset.labels[test],
        probs[np.isin(rows, test)],
        own_labels=not labels_made_of_votes(table),
    )
    rows = rows[counts[rows].sum(axis=1) > 0]
    if not figures["measured"] or not len(rows):
        return figures, None
    shares = counts[rows] / counts[rows].sum(axis=1, keepdims=True)
    return figures, predictions_of(dataset, rows, shares)


def predictions_of(dataset: Dataset, rows: np.ndarray, pred_probs: np.ndarray) -> Predictions:
    """Return the predictions of the samples `rows` (M,) from pred_probs (M, K), or (K,) for every sample."""
    probs = np.broadcast_to(pred_probs, (len(rows), len(dataset.classes))).astype(np.float32)
    ids = tuple(dataset.sample_ids[row] for row in rows)
    return Predictions(ids, tuple(str(name) for name in dataset.split[rows]), probs)


def dummies(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the class probabilities (K,) of each baseline that nothing has to learn."""
    labels, n_classes = dataset.labels[dataset.part("train")], len(dataset.classes)
    return {"dummy": class_prior(labels, n_classes), "dummy_most_frequent": most_frequent(labels, n_classes)}


def reference(
    name: ReferenceName, dataset: Dataset, embeddings: np.ndarray, rows: np.ndarray, params: Params
) -> Reference | str:
    """Return what the reference of this name says of `rows`, or why there is none."""
    if name in BLIND:
        from stages.lib.blind_networks import blind_network_probs

        return Reference(blind_network_probs(BLIND[name], dataset, rows, params.seed), {})
    if name == "linear":
        pixels = dataset.pixels.reshape(len(dataset.pixels), -1)
        return fit_linear(pixels, dataset, rows, params, "pixels")
    if name == "linear_embedding":
        return fit_linear(embeddings, dataset, rows, params, "the embedding")
    both = spaces(dataset.pixels, embeddings)
    if name == "knn":
        return fit_neighbours(both, dataset, rows, params, params.seed)
    return fit_svc(both, dataset, rows, params, params.seed)


def classifier_of(found: Mapping[str, Reference], dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return pred_probs (M, K) of the linear model that is better on val; even ones where there is none."""
    linear = [found[name] for name in LINEAR if name in found]
    if not linear:
        return np.full((len(rows), len(dataset.classes)), 1 / len(dataset.classes))
    return max(linear, key=lambda one: float(one.told["val_top1_accuracy"])).pred_probs


def run(
    params: Params, *, ingest: Path, embed: Path, curate: Path, split: Path, review: Path, out: Path
) -> dict[str, Any]:
    """Write predictions/<name>.parquet and human.json; return how the references were chosen."""
    dataset = load_dataset(ingest, curate, split)
    rows = dataset.part("val", "test")
    for stale in (out / "predictions").glob("*.parquet"):  # of a run by hand: DVC has cleared its own
        stale.unlink()

    def write(name: str, predictions: Predictions) -> None:
        write_predictions(out / "predictions" / f"{name}.parquet", predictions)

    for name, probs in dummies(dataset).items():
        write(name, predictions_of(dataset, rows, probs))
    embeddings = read_npy(embed / "embeddings.npy")
    metrics: dict[str, Any] = {}
    linear: dict[str, Reference] = {}
    for asked in dict.fromkeys(params.references):
        found = reference(asked, dataset, embeddings, rows, params)
        if isinstance(found, str):
            say(f"{asked}: not measured: {found}")
            metrics[asked] = {"measured": False, "reason": found}
            continue
        if found.told.get("capped"):
            say(f"{asked}: learned from {found.told['n_train']} images, as baseline.{asked}_max_train says")
        write(asked, predictions_of(dataset, rows, found.pred_probs))
        metrics |= {asked: found.told} if found.told else {}
        linear |= {asked: found} if asked in LINEAR else {}
    classifier = classifier_of(linear, dataset, rows)
    figures, people = human(ingest / "manifest.parquet", review, dataset, classifier)
    write_json(out / "human.json", figures)
    if people:
        write("human", people)
    sizes = {f"n_{name}": len(dataset.part(name)) for name in ("train", "val", "test")}
    return metrics | sizes | {"human_measured": figures["measured"]}


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
