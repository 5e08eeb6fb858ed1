"""Score every label by a model that never saw it, and by all who labelled it. Finds only: changes nothing.

From pictures, embeddings, given labels and annotators' labels (manifest columns `annotator_<name>`) to:
`scores.parquet` (given and suggested label, quality 0 bad ... 1 good, whether it is a label issue),
`pred_probs.npy` (out of sample, (n_labelled, K) float32), `classes.json`, `consensus.parquet` (what
annotators and model together believe, how surely; of ties without a label too), `annotators.csv` (the least
accurate first) and `noise_matrix.csv` (which class passes for which).

K-fold cross-validation, equal pictures always in the same fold (a copy in training would vouch for its own
label), of logistic regression on the standardised embedding (`linear`) or of small networks on the pixels
(`network`). One label a sample: quality and issues by lib/label_scores.py. Several annotators: their
confusion matrices and the model joined by EM (lib/annotators.py); quality is what that gives the given label.

A class with fewer distinct pictures than folds is not assessable: a model that saw next to nothing of a class
would call every one of its samples wrong. Its samples get quality 1, no issue, and the metrics say so; with
annotators, these speak alone.

Cost: 2.5 CPU seconds on digits, 2 of them imports (scikit-learn, cleanlab); 60,000 x 912 (linear) 16.
bench/cifar_label_noise.py states figures and cost on 50,000 images.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from stages.lib.annotators import Consensus, Doubles, Labels, agree, vote_shares
from stages.lib.artifacts import write_csv, write_json, write_npy, write_table
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.crossval import grouped_folds, pictures_per_class
from stages.lib.label_findings import (
    ANNOTATOR_COLUMNS,
    AnnotatorRow,
    annotator_rows,
    consensus_table,
    score_table,
)
from stages.lib.label_scores import Mask, Scores, among, filled_by_votes, score_labels, scores_by_consensus
from stages.lib.labelled import Labelled, read_labelled, voters
from stages.lib.linear_fold import predict_fold
from stages.lib.noise_rate import (
    CONFUSION_COLUMNS,
    NoiseEstimate,
    by_confidence,
    by_posterior,
    confusions,
    spanning,
)
from stages.lib.pooling import Floats
from stages.lib.progress import say, track

Predict = Callable[[Labels, Labels, int], tuple[Floats, bool]]
"""From positions seen and unseen and the fold's number to (m, K) of the unseen, and whether it converged."""

WORST = 5
"""Annotators named in the metrics; annotators.csv has them all."""


class Params(Section):
    """Section `label_noise` of params.yaml."""

    model: Literal["linear", "network"]
    folds: int = Field(ge=2, le=20)
    seed: int = Field(ge=0)
    l2: float = Field(gt=0)
    widths: tuple[Annotated[int, Field(ge=8, le=1024)], ...] = Field(min_length=1, max_length=6)
    epochs: int = Field(ge=1, le=1000)
    shift: float = Field(ge=0, lt=0.5)
    mirror: bool
    precision: Literal["float32", "bfloat16"]
    score: Literal["self_confidence", "normalized_margin", "odds"]
    filter_by: Literal["prune_by_noise_rate", "prune_by_class", "both", "confident_learning"]


def cross_validate(
    inputs: np.ndarray,
    labels: Labels,
    pictures: Labels,
    n_classes: int,
    params: Params,
    targets: Doubles | None = None,
) -> tuple[Floats, Mask, dict[str, int]]:
    """Return pred_probs (n, K), which classes are assessable (K,), and what was done, as counts.

    inputs are embeddings for the linear model, pixels for the network; targets (n, K) are distributions to
    learn from instead of the labels.
    """
    per_class = pictures_per_class(labels, pictures, n_classes)
    folds = max(1, min(params.folds, len(np.unique(pictures))))
    fold = grouped_folds(labels, pictures, folds, np.random.default_rng(params.seed))
    goals = np.eye(n_classes)[labels] if targets is None else targets
    predict = (_linear if params.model == "linear" else _network)(inputs, goals, params)
    pred_probs, not_converged = out_of_sample(goals, fold, predict)
    if folds < 2:
        pred_probs[:] = 1 / max(n_classes, 1)  # one picture: nobody is left to learn from
    return pred_probs, per_class >= max(folds, 2), {"folds": folds, "n_folds_not_converged": not_converged}


def out_of_sample(targets: Doubles, fold: Labels, predict: Predict) -> tuple[Floats, int]:
    """Predict each fold by a model of the others: pred_probs like targets (n, K), folds not converged."""
    pred_probs = np.zeros(targets.shape, np.float32)
    not_converged = 0
    for held_out in track(range(int(fold.max(initial=-1)) + 1), "folds"):
        unseen, seen = np.flatnonzero(fold == held_out), np.flatnonzero(fold != held_out)
        present = np.flatnonzero(targets[seen].sum(0))
        if len(present) < 2:
            pred_probs[np.ix_(unseen, present)] = 1
            continue
        pred_probs[unseen], converged = predict(seen, unseen, held_out)
        not_converged += not converged
    return pred_probs, not_converged


def _linear(features: np.ndarray, targets: Doubles, params: Params) -> Predict:
    def predict(seen: Labels, unseen: Labels, fold: int) -> tuple[Floats, bool]:
        del fold
        return predict_fold(features[seen], targets[seen], features[unseen], params.l2)

    return predict


def _network(pixels: np.ndarray, targets: Doubles, params: Params) -> Predict:
    from stages.lib import fold_networks

    brief = params.precision == "bfloat16"
    how = fold_networks.Networks(
        params.widths, params.epochs, params.shift, params.mirror, brief, params.seed
    )

    def predict(seen: Labels, unseen: Labels, fold: int) -> tuple[Floats, bool]:
        return fold_networks.predict_fold(pixels, targets, seen, unseen, how, fold), True

    return predict


@dataclass(frozen=True)
class Judgement:
    """All that the stage finds: by the model alone, or (consensus is not None) with the annotators.

    given (m,): positions of the samples that have a label, m of n; pred_probs (m, K) and scores are theirs;
    assessable (K,); names and votes (n, J) of the voters.
    """

    given: Labels

    pred_probs: Floats
    assessable: Mask
    done: dict[str, int]
    scores: Scores
    noise: NoiseEstimate
    names: list[str]
    votes: Labels
    consensus: Consensus | None


def judge(labelled: Labelled, params: Params) -> Judgement:
    """Predict out of sample, then score the given labels by the model alone or together with annotators."""
    labels, n_classes = labelled.labels, len(labelled.classes)
    given = np.flatnonzero(labels >= 0)
    names, votes = voters(labelled)
    shares = vote_shares(votes, n_classes) if names else None
    # A tie is dealt to the folds as if the first of its classes had won; the model learns from its shares.
    dealt = labels if shares is None else np.where(labels >= 0, labels, shares.argmax(1))
    probs, assessable, done = cross_validate(
        labelled.inputs, dealt, labelled.pictures, n_classes, params, shares
    )
    rng = np.random.default_rng(params.seed)
    if shares is None:
        scores = score_labels(labels, probs, assessable, params)
        noise = _noise(labels, probs, assessable, rng)
        return Judgement(given, probs, assessable, done, scores, noise, names, votes, None)
    consensus = agree(votes, filled_by_votes(probs, shares, assessable))
    labels, probs, posterior = labels[given], probs[given], consensus.posterior[given]
    scores = scores_by_consensus(labels, posterior)
    noise = _noise_with_votes(labels, probs, posterior, assessable, rng)
    return Judgement(given, probs, assessable, done, scores, noise, names, votes, consensus)


def _noise_with_votes(
    labels: Labels, probs: Floats, posterior: Doubles, assessable: Mask, rng: np.random.Generator
) -> NoiseEstimate:
    """Estimate the noise of labels by what annotators and model say; without labels nothing can be said."""
    if not len(labels):
        return NoiseEstimate(0.0, (0.0, 1.0), np.zeros((len(assessable),) * 2))
    noise = by_posterior(labels, posterior)
    if assessable.sum() < 2:
        return noise
    return spanning(noise, by_confidence(*among(labels, probs, assessable), rng))


def _noise(labels: Labels, probs: Floats, assessable: Mask, rng: np.random.Generator) -> NoiseEstimate:
    """Estimate the noise among assessable classes; with fewer than two of them nothing can be said."""
    matrix = np.zeros((len(assessable),) * 2)
    columns = np.flatnonzero(assessable)
    if len(columns) < 2:
        return NoiseEstimate(0.0, (0.0, 1.0), matrix)
    own, judged = among(labels, probs, assessable)
    alone = by_posterior(own, agree(own[:, None], judged).posterior)
    found = spanning(by_confidence(own, judged, rng), alone)
    matrix[np.ix_(columns, columns)] = found.matrix
    return NoiseEstimate(found.rate, found.interval, matrix)


def figures(labelled: Labelled, found: Judgement, annotators: list[AnnotatorRow]) -> dict[str, Any]:
    """Return the metrics."""
    labels, n = labelled.labels[found.given], len(found.given)
    not_assessed = [name for name, can in zip(labelled.classes, found.assessable, strict=True) if not can]
    if not_assessed:
        say(f"{len(not_assessed)} classes have too few pictures for the model to assess their labels")
    several = (
        {}
        if found.consensus is None
        else {
            "model_power": round(found.consensus.power, 6),
            "n_annotators": len(annotators),
            "worst_annotators": [
                {"annotator": row[0], "n": row[1], "accuracy": row[2]} for row in annotators[:WORST]
            ],
        }
    )
    return (
        found.done
        | several
        | {
            "n_labelled": n,
            "n_label_issues": int(found.scores.is_label_issue.sum()),
            "n_not_assessed": int((~found.assessable[labels]).sum()),
            "classes_not_assessed": not_assessed,
            "estimated_noise_rate": round(found.noise.rate, 6),
            "estimated_noise_rate_ci": [round(bound, 6) for bound in found.noise.interval],
            "top1_agreement": round(float((found.pred_probs.argmax(1) == labels).mean()), 6) if n else 0.0,
        }
    )


def run(params: Params, *, ingest: Path, embed: Path, out: Path) -> dict[str, Any]:
    """Read what is labelled, judge it, write the findings."""
    labelled = read_labelled(ingest, embed, params.model)
    found = judge(labelled, params)
    rows = [] if found.consensus is None else annotator_rows(found.names, found.votes, found.consensus)
    write_table(out / "scores.parquet", score_table(labelled, found.given, found.scores))
    write_table(out / "consensus.parquet", consensus_table(labelled, found.votes, found.consensus))
    write_npy(out / "pred_probs.npy", found.pred_probs)
    write_json(out / "classes.json", labelled.classes)
    write_csv(out / "annotators.csv", ANNOTATOR_COLUMNS, rows)
    write_csv(out / "noise_matrix.csv", CONFUSION_COLUMNS, confusions(found.noise.matrix, labelled.classes))
    return figures(labelled, found, rows)


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
