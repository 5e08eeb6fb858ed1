"""Score every label by a model that never saw it. Finds only: no label is changed here.

From embeddings and given labels to `scores.parquet` (given and suggested label, quality 0 bad ... 1 good, and
whether it is a label issue), `pred_probs.npy` (out of sample, (n_labelled, K) float32) and `classes.json`.

K-fold cross-validation of multinomial logistic regression on the standardised embedding, equal pictures
always in the same fold (a copy in training would vouch for its own label); then cleanlab: label quality from
the probabilities, and issues by confident learning (Northcutt, Jiang & Chuang 2021, "Confident learning:
estimating uncertainty in dataset labels", JAIR).

A class with fewer distinct pictures than folds is not assessable: a model that saw next to nothing of a class
would call every one of its samples wrong. Its samples get quality 1, no issue, and the metrics say so.

Cost: 2.5 CPU seconds on digits, 2 of them imports (scikit-learn, cleanlab).
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from stages.lib.artifacts import read_npy, read_table, write_json, write_npy, write_table
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.crossval import grouped_folds, pictures_per_class
from stages.lib.errors import InputError
from stages.lib.image_store import read_pixels
from stages.lib.picture_identity import same_picture
from stages.lib.pooling import Floats
from stages.lib.predictions import SUM_TOLERANCE
from stages.lib.progress import say, track
from stages.lib.threads import blas_threads_for

Labels = npt.NDArray[np.int64]

MAX_ITERATIONS = 1000
"""L-BFGS needs 30 to 60 on digits; a fold that needs more than this is counted in the metrics."""

FLAT_FEATURE = 1e-4
"""A feature that varies less than this (samples have length 1) is constant but for rounding: unscaled."""


class Params(Section):
    """Section `label_noise` of params.yaml."""

    folds: int = Field(ge=2, le=20)
    seed: int = Field(ge=0)
    l2: float = Field(gt=0)
    score: Literal["self_confidence", "normalized_margin"]
    filter_by: Literal["prune_by_noise_rate", "prune_by_class", "both", "confident_learning"]


@dataclass(frozen=True)
class Scores:
    """What out-of-sample probabilities say of N given labels.

    label_quality (N,) float32 in 0...1; suggested (N,) int64 class positions; is_label_issue (N,) bool;
    noise_rate: estimated share of wrong labels among the assessable.
    """

    label_quality: Floats
    suggested: Labels
    is_label_issue: npt.NDArray[np.bool_]
    noise_rate: float


def out_of_sample(
    features: Floats, labels: Labels, fold: Labels, n_classes: int, l2: float
) -> tuple[Floats, int]:
    """Predict each fold by a model of the others: (n, d) -> pred_probs (n, n_classes), folds not converged.

    A class that the other folds lack gets probability 0.
    """
    pred_probs = np.zeros((len(labels), n_classes), np.float32)
    not_converged = 0
    for held_out in track(range(int(fold.max(initial=-1)) + 1), "folds"):
        test = fold == held_out
        present = np.unique(labels[~test])
        if len(present) < 2:
            pred_probs[np.ix_(test, present)] = 1
            continue
        probabilities, converged = fit_and_predict(features[~test], labels[~test], features[test], l2)
        pred_probs[np.ix_(test, present)] = probabilities
        not_converged += not converged
    return pred_probs, not_converged


def fit_and_predict(features: Floats, labels: Labels, unseen: Floats, l2: float) -> tuple[Floats, bool]:
    """Fit logistic regression on (n, d) standardised by its own mean and spread, predict (m, d) -> (m, k).

    l2 is the penalty relative to the mean loss, so that it means the same for any n (C = 1 / (l2 * n)).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, spread = features.mean(0), features.std(0)
    spread[spread < FLAT_FEATURE] = 1
    model = LogisticRegression(C=1 / (l2 * len(labels)), max_iter=MAX_ITERATIONS)
    with blas_threads_for(features.size), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # counted by the caller instead
        model.fit((features - mean) / spread, labels)
    probabilities: Floats = model.predict_proba((unseen - mean) / spread)
    return probabilities, bool(model.n_iter_.max() < MAX_ITERATIONS)


def check_pred_probs(labels: Labels, pred_probs: Floats) -> None:
    """Raise InputError unless pred_probs (N, K) are distributions over the classes of labels (N,).

    cleanlab answers NaN with "no issues", silently.
    """
    if pred_probs.ndim != 2 or len(pred_probs) != len(labels):
        raise InputError(f"pred_probs: expected shape ({len(labels)}, K), received {pred_probs.shape}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < pred_probs.shape[1]):
        raise InputError(f"labels: expected 0...{pred_probs.shape[1] - 1}, the columns of pred_probs")
    off = ~(np.abs(pred_probs.sum(1) - 1) <= SUM_TOLERANCE)  # a NaN compares False, and so is off
    bad = off | ~np.isfinite(pred_probs).all(1) | (pred_probs < 0).any(1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"pred_probs: {int(bad.sum())} rows are no probability distribution, the first is row {row}: "
            f"sum {pred_probs[row].sum()}, least {pred_probs[row].min()}; expected finite, >= 0, sum 1"
        )


def score_labels(
    labels: Labels, pred_probs: Floats, assessable: npt.NDArray[np.bool_], params: Params
) -> Scores:
    """Score labels (N,) by out-of-sample pred_probs (N, K); assessable (K,): which classes can be judged."""
    check_pred_probs(labels, pred_probs)
    judged = assessable[labels]
    quality = np.ones(len(labels), np.float32)
    suggested, issue = labels.copy(), np.zeros(len(labels), bool)
    columns = np.flatnonzero(assessable)
    if len(columns) < 2:
        return Scores(quality, suggested, issue, 0.0)
    own = np.searchsorted(columns, labels[judged])
    probabilities = _renormalised(pred_probs[np.ix_(judged, columns)])
    quality[judged], issue[judged], noise_rate = _by_cleanlab(own, probabilities, params)
    suggested[judged] = columns[probabilities.argmax(1)]
    return Scores(quality, suggested, issue, noise_rate)


def _renormalised(pred_probs: Floats) -> Floats:
    """Make rows sum to 1 again after columns were left out; a row without any mass says nothing: uniform."""
    padded = pred_probs.astype(np.float64) + np.finfo(np.float32).tiny
    normalised: Floats = padded / padded.sum(1, keepdims=True)
    return normalised


def _by_cleanlab(
    labels: Labels, pred_probs: Floats, params: Params
) -> tuple[Floats, npt.NDArray[np.bool_], float]:
    """Return quality (n,), issue (n,) and the estimated noise rate (off-diagonal mass of the joint)."""
    from cleanlab.count import estimate_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    quality = get_label_quality_scores(labels, pred_probs, method=params.score)
    # One process: cleanlab's default forks as many as there are cores.
    issue = find_label_issues(labels, pred_probs, filter_by=params.filter_by, n_jobs=1)
    joint = estimate_joint(labels, pred_probs)
    return quality.astype(np.float32), issue, float(1 - np.trace(joint))


def cross_validate(
    features: Floats, labels: Labels, pictures: Labels, n_classes: int, params: Params
) -> tuple[Floats, npt.NDArray[np.bool_], dict[str, int]]:
    """Return pred_probs (n, K), which classes are assessable (K,), and what was done, as counts."""
    per_class = pictures_per_class(labels, pictures, n_classes)
    folds = max(1, min(params.folds, len(np.unique(pictures))))
    fold = grouped_folds(labels, pictures, folds, np.random.default_rng(params.seed))
    pred_probs, not_converged = out_of_sample(features, labels, fold, n_classes, params.l2)
    if folds < 2:
        pred_probs[:] = 1 / max(n_classes, 1)  # one picture: nobody is left to learn from
    return pred_probs, per_class >= max(folds, 2), {"folds": folds, "n_folds_not_converged": not_converged}


def _score_table(sample_ids: list[str], classes: list[str], labels: Labels, scores: Scores) -> pa.Table:
    names = np.array(classes, dtype=object)
    columns = {
        "sample_id": pa.array(sample_ids, pa.string()),
        "given_label": pa.array(names[labels], pa.string()),
        "suggested_label": pa.array(names[scores.suggested], pa.string()),
        "label_quality": pa.array(scores.label_quality, pa.float32()),
        "is_label_issue": pa.array(scores.is_label_issue, pa.bool_()),
    }
    return pa.table(columns)


def _read(ingest: Path, embed: Path) -> tuple[list[str], list[str], Floats, Labels]:
    """Return sample_ids, labels, features and picture numbers of the labelled samples."""
    pixels = read_pixels(ingest)
    manifest = read_table(ingest / "manifest.parquet", ["sample_id", "label"])
    ids, labels = manifest["sample_id"].to_pylist(), manifest["label"].to_pylist()
    features = read_npy(embed / "embeddings.npy")
    if tuple(ids) != pixels.sample_ids or len(features) != len(ids):
        raise InputError(f"{ingest} and {embed} hold different samples: run `dvc repro`")
    rows = [position for position, label in enumerate(labels) if label is not None]
    pictures = same_picture(pixels.array)[rows]
    return [ids[row] for row in rows], [labels[row] for row in rows], features[rows], pictures


def run(params: Params, *, ingest: Path, embed: Path, out: Path) -> dict[str, Any]:
    """Read embeddings and given labels, write scores, probabilities and classes."""
    ids, names, features, pictures = _read(ingest, embed)
    classes = sorted(set(names))
    position = {name: index for index, name in enumerate(classes)}
    labels = np.array([position[name] for name in names], np.int64)
    pred_probs, assessable, done = cross_validate(features, labels, pictures, len(classes), params)
    scores = score_labels(labels, pred_probs, assessable, params)
    write_table(out / "scores.parquet", _score_table(ids, classes, labels, scores))
    write_npy(out / "pred_probs.npy", pred_probs)
    write_json(out / "classes.json", classes)
    not_assessed = [name for name, can in zip(classes, assessable, strict=True) if not can]
    if not_assessed:
        say(f"{len(not_assessed)} classes have too few pictures to assess their labels")
    return done | {
        "n_labelled": len(labels),
        "n_label_issues": int(scores.is_label_issue.sum()),
        "n_not_assessed": int((~assessable[labels]).sum()),
        "classes_not_assessed": not_assessed,
        "estimated_noise_rate": round(scores.noise_rate, 6),
        "top1_agreement": round(float((pred_probs.argmax(1) == labels).mean()), 6) if len(labels) else 0.0,
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
