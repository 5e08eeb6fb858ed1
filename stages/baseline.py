"""Predict without a network: what a model must beat before its accuracy means anything.

From the pixels, embeddings, curated labels and splits come prediction files for val and test:
- `dummy`: the class shares of train; `dummy_most_frequent`: always its largest class. An accuracy is only
  worth what it exceeds them by, and with rare classes they reach far.
- `dummy_zeros`: a network trained on images that are all zero. It can learn nothing but the class shares; if
  it does better, labels leak by a way other than the image (Karpathy 2019, A Recipe for Training Neural
  Networks: "input-independent baseline").
- `linear`, `linear_embedding`: logistic regression on standardised pixels and on the embedding, its
  regularisation chosen on val. What a straight line already does needs no network.
- `human`: people against people, where the manifest has two or more `annotator_*` columns. Without it nobody
  knows whether the errors that remain are the model's or the labels', and `human.json` says so.

Cost: two seconds each to import scikit-learn and torch; on 1,797 digits one more for the rest.
"""

from collections.abc import Mapping, Sequence
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
from stages.lib.intervals import wilson
from stages.lib.predictions import Predictions, write_predictions
from stages.lib.progress import track
from stages.lib.threads import blas_threads_for

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

ANNOTATOR_PREFIX = "annotator_"
HUMAN_CONFIDENCE = 0.95
"""The level of the interval beside a person's agreement; only shown, nothing is decided by it."""

NOT_MEASURED = (
    "no annotations: the manifest has fewer than two annotator columns. Without independent opinions nobody "
    "knows whether the errors that remain are the model's or the labels', nor whether a higher accuracy is "
    "possible at all. To measure it, let two or more people label the test images independently, one column "
    "a person, named annotator_<name>, and run the chain again."
)


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


def votes(columns: Mapping[str, Sequence[str | None]], classes: Sequence[str]) -> np.ndarray:
    """Return what each person said (N, A) int64 as positions in `classes`, -1 where it is none of them."""
    position: dict[str | None, int] = {name: index for index, name in enumerate(classes)}
    return np.array([[position.get(said, -1) for said in column] for column in columns.values()]).T


def vote_counts(said: np.ndarray, n_classes: int) -> np.ndarray:
    """Count the votes of said (N, A) for each class: (N, K) int64."""
    return np.asarray((said[:, :, None] == np.arange(n_classes)).sum(axis=1))


def agreement(said: np.ndarray, n_classes: int) -> list[tuple[int, int]]:
    """Return for each person how often they equal the majority of the others, and on how many samples.

    A sample counts where the person voted and one class has strictly most of the others' votes.
    """
    counts = vote_counts(said, n_classes)
    found = []
    for person in said.T:
        others = counts - (person[:, None] == np.arange(n_classes))
        top = others.max(axis=1)
        clear = (person >= 0) & (top > 0) & ((others == top[:, None]).sum(axis=1) == 1)
        found.append((int((others.argmax(axis=1) == person)[clear].sum()), int(clear.sum())))
    return found


def human_figures(names: Sequence[str], said: np.ndarray, n_classes: int) -> dict[str, Any]:
    """Return human.json for the votes said (N, A) on the test images."""
    found = agreement(said, n_classes)
    total = sum(counted for _, counted in found)
    if total == 0:
        return {"measured": False, "reason": "no test image has votes of two people. " + NOT_MEASURED}
    people = {name: both for name, both in zip(names, found, strict=True) if both[1]}
    return {
        "measured": True,
        "agreement_with_others": sum(equal for equal, _ in found) / total,
        "n": total,
        "annotators": {
            name: {"agreement": equal / n, "ci": list(wilson(equal, n, HUMAN_CONFIDENCE)), "n": n}
            for name, (equal, n) in people.items()
        },
    }


def human(manifest: Path, dataset: Dataset) -> tuple[dict[str, Any], Predictions | None]:
    """Return human.json, and the shares of votes as a prediction of each val and test sample that has any."""
    table = read_table(manifest)
    names = [name for name in table.column_names if name.startswith(ANNOTATOR_PREFIX)]
    if len(names) < 2:
        return {"measured": False, "reason": NOT_MEASURED}, None
    said = votes({name: table[name].to_pylist() for name in names}, dataset.classes)
    counts = vote_counts(said, len(dataset.classes))
    rows = dataset.part("val", "test")
    rows = rows[counts[rows].sum(axis=1) > 0]
    shares = counts[rows] / counts[rows].sum(axis=1, keepdims=True)
    people = [name.removeprefix(ANNOTATOR_PREFIX) for name in names]
    figures = human_figures(people, said[dataset.part("test")], len(dataset.classes))
    return figures, predictions_of(dataset, rows, shares) if len(rows) else None


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


def run(params: Params, *, ingest: Path, embed: Path, curate: Path, split: Path, out: Path) -> dict[str, Any]:
    """Write predictions/<name>.parquet and human.json; return how the linear models were chosen."""
    dataset = load_dataset(ingest, curate, split)
    rows = dataset.part("val", "test")
    blind = dummies(dataset, params.seed)
    found = {name: predictions_of(dataset, rows, probs) for name, probs in blind.items()}
    pixels = dataset.pixels.reshape(len(dataset.pixels), -1)
    metrics: dict[str, Any] = {}
    for name, features in (("linear", pixels), ("linear_embedding", read_npy(embed / "embeddings.npy"))):
        fit = fit_linear(features, dataset, rows, params, "pixels" if name == "linear" else "the embedding")
        found[name] = predictions_of(dataset, rows, fit.pred_probs)
        metrics[name] = {"c": fit.c, "val_top1_accuracy": fit.val_top1_accuracy, "n_iter": fit.n_iter}
    figures, people = human(ingest / "manifest.parquet", dataset)
    write_json(out / "human.json", figures)
    for stale in (out / "predictions").glob("*.parquet"):  # of a run by hand: DVC has cleared its own
        stale.unlink()
    for name, predictions in (found | ({"human": people} if people else {})).items():
        write_predictions(out / "predictions" / f"{name}.parquet", predictions)
    sizes = {f"n_{name}": len(dataset.part(name)) for name in ("train", "val", "test")}
    return metrics | sizes | {"human_measured": figures["measured"]}


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
