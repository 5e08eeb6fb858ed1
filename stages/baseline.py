"""Predict without a network: what a model must beat before its accuracy means anything.

From the pixels, embeddings, curated labels and splits come prediction files for val and test:
- `dummy`: the class shares of train; `dummy_most_frequent`: always its largest class. An accuracy is only
  worth what it exceeds them by, and with rare classes they reach far.
- `dummy_zeros`: a network trained on images that are all zero. It can learn nothing but the class shares; if
  it does better, labels leak by a way other than the image (Karpathy 2019, A Recipe for Training Neural
  Networks: "input-independent baseline").
- `linear`, `linear_embedding`: logistic regression on standardised pixels and on the embedding, its
  regularisation chosen on val. What a straight line already does needs no network.
- `human`: people, where images have votes of two or more (lib/human_votes.py says from where): the shares of
  votes as a prediction, and in `human.json` agreement, majority and one person's accuracy, which needs no
  label (lib/human_accuracy.py). Without it nobody knows whether the errors that remain are the model's or the
  labels', and `human.json` says so.

Cost: two seconds each to import scikit-learn and torch; on 1,797 digits one more for the rest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from stages.lib.artifacts import read_npy, read_table, write_json
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.errors import InputError
from stages.lib.human_figures import human_figures
from stages.lib.human_votes import read_votes
from stages.lib.label_roles import labels_made_of_votes
from stages.lib.predictions import Predictions, write_predictions
from stages.lib.progress import track
from stages.lib.threads import blas_threads_for

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


class Params(Section):
    """Section `baseline` of params.yaml."""

    linear_c: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    linear_max_iter: int = Field(ge=1)
    seed: int = Field(ge=0)


@dataclass(frozen=True)
class LinearFit:
    """A chosen logistic regression: pred_probs (M, K) of the asked rows, and how it was chosen."""

    pred_probs: np.ndarray
    c: float
    val_top1_accuracy: float
    n_iter: int


def class_prior(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the class shares (K,) float64 of labels (N,)."""
    return np.asarray(np.bincount(labels, minlength=n_classes) / len(labels))


def most_frequent(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return (K,): all probability on the largest class, the first of equals.

    Its log loss stays finite because `metrics.log_loss` clips at float32's epsilon.
    """
    return np.asarray(np.eye(n_classes)[np.bincount(labels, minlength=n_classes).argmax()])


def standardised(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return features (N, D) of mean 0 and variance 1 over the rows `train`; columns constant there are 0."""
    mean, scale = features[train].mean(axis=0), features[train].std(axis=0)
    varies = scale > 0
    return np.asarray(np.where(varies, (features - mean) / np.where(varies, scale, 1.0), 0.0))


def fit_linear(
    features: np.ndarray, dataset: Dataset, rows: np.ndarray, params: Params, label: str
) -> LinearFit:
    """Fit logistic regressions on train, keep the one that is best on val, and predict the samples `rows`.

    Best means the highest accuracy on val, then the lowest log loss on val, then the stronger regularisation.
    """
    train, val = dataset.part("train"), dataset.part("val")
    scaled = standardised(features.astype(np.float64), train)
    model = _logistic_regression(params)
    best: tuple[tuple[float, float], LinearFit] | None = None
    for c in track(sorted(params.linear_c), f"logistic regression on {label}"):
        _fit(model.set_params(C=c), scaled[train], dataset.labels[train], params)
        score = _score(all_classes(model, scaled[val], len(dataset.classes)), dataset.labels[val])
        if best is None or score > best[0]:
            probs = all_classes(model, scaled[rows], len(dataset.classes))
            best = (score, LinearFit(probs, c, score[0], int(model.n_iter_.max())))
    assert best is not None
    return best[1]


def _logistic_regression(params: Params) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    # Each fit starts from the one before it: from strong to weak regularisation the way is short.
    return LogisticRegression(max_iter=params.linear_max_iter, warm_start=True)


def _fit(model: "LogisticRegression", features: np.ndarray, labels: np.ndarray, params: Params) -> None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), blas_threads_for(features.size):
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(features, labels)
        except ConvergenceWarning as warning:
            raise InputError(
                f"baseline.linear_max_iter: {params.linear_max_iter} iterations do not suffice at C = "
                f"{model.C}; raise it, or take the largest values from baseline.linear_c"
            ) from warning


def _score(pred_probs: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    from stages.lib.metrics import log_loss, top1

    return float((top1(pred_probs) == labels).mean()), -log_loss(pred_probs, labels)


def all_classes(model: "LogisticRegression", features: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the probabilities (M, K); a class that train lacks gets 0."""
    probs = np.zeros((len(features), n_classes))
    probs[:, model.classes_] = model.predict_proba(features)
    return probs


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


def dummies(dataset: Dataset, seed: int) -> dict[str, np.ndarray]:
    """Return the class probabilities (K,) of each baseline that never looks at an image."""
    from stages.lib.zeros_network import zeros_network_probs

    labels, n_classes = dataset.labels[dataset.part("train")], len(dataset.classes)
    _, height, width, channels = dataset.pixels.shape
    shape = (height, width, channels)
    return {
        "dummy": class_prior(labels, n_classes),
        "dummy_most_frequent": most_frequent(labels, n_classes),
        "dummy_zeros": zeros_network_probs(labels, n_classes, shape, seed),
    }


def run(
    params: Params, *, ingest: Path, embed: Path, curate: Path, split: Path, review: Path, out: Path
) -> dict[str, Any]:
    """Write predictions/<name>.parquet and human.json; return how the linear models were chosen."""
    dataset = load_dataset(ingest, curate, split)
    rows = dataset.part("val", "test")
    blind = dummies(dataset, params.seed)
    found = {name: predictions_of(dataset, rows, probs) for name, probs in blind.items()}
    pixels = dataset.pixels.reshape(len(dataset.pixels), -1)
    metrics: dict[str, Any] = {}
    fits: list[LinearFit] = []
    for name, features in (("linear", pixels), ("linear_embedding", read_npy(embed / "embeddings.npy"))):
        fit = fit_linear(features, dataset, rows, params, "pixels" if name == "linear" else "the embedding")
        fits.append(fit)
        found[name] = predictions_of(dataset, rows, fit.pred_probs)
        metrics[name] = {"c": fit.c, "val_top1_accuracy": fit.val_top1_accuracy, "n_iter": fit.n_iter}
    best = max(fits, key=lambda fit: fit.val_top1_accuracy)
    figures, people = human(ingest / "manifest.parquet", review, dataset, best.pred_probs)
    write_json(out / "human.json", figures)
    for stale in (out / "predictions").glob("*.parquet"):  # of a run by hand: DVC has cleared its own
        stale.unlink()
    for name, predictions in (found | ({"human": people} if people else {})).items():
        write_predictions(out / "predictions" / f"{name}.parquet", predictions)
    sizes = {f"n_{name}": len(dataset.part(name)) for name in ("train", "val", "test")}
    return metrics | sizes | {"human_measured": figures["measured"]}


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
