"""The tables that say what was found about labels: scores, consensus, annotators, confusions."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from stages.lib.annotators import Consensus, Labels
from stages.lib.intervals import wilson
from stages.lib.label_scores import Scores
from stages.lib.labelled import Labelled
from stages.lib.noise_rate import CONFIDENCE

AnnotatorRow = tuple[str, int, float, float, float, float]
"""ANNOTATOR_COLUMNS of one annotator."""

ANNOTATOR_COLUMNS = ("annotator", "n", "accuracy", "accuracy_low", "accuracy_high", "agreement")


def score_table(labelled: Labelled, given: Labels, scores: Scores) -> pa.Table:
    """Return a row per sample that has a label, in manifest order; given (m,): their positions."""
    columns = {
        "sample_id": pa.array([labelled.sample_ids[row] for row in given], pa.string()),
        "given_label": _named(labelled.classes, labelled.labels[given]),
        "suggested_label": _named(labelled.classes, scores.suggested),
        "label_quality": pa.array(scores.label_quality, pa.float32()),
        "is_label_issue": pa.array(scores.is_label_issue, pa.bool_()),
    }
    return pa.table(columns)


def consensus_table(labelled: Labelled, votes: Labels, consensus: Consensus | None) -> pa.Table:
    """Return a row per sample with votes: consensus, its probability, votes, share of them that agrees."""
    rows = np.flatnonzero((votes >= 0).any(1)) if consensus is not None else np.zeros(0, np.int64)
    posterior = np.zeros((0, 1)) if consensus is None else consensus.posterior[rows]
    best, said = posterior.argmax(1), votes[rows]
    n_votes = (said >= 0).sum(1)
    alike = (said == best[:, None]).sum(1) / np.maximum(n_votes, 1)
    columns = {
        "sample_id": pa.array([labelled.sample_ids[row] for row in rows], pa.string()),
        "consensus_label": _named(labelled.classes, best),
        "consensus_quality": pa.array(posterior.max(1, initial=0), pa.float32()),
        "n_votes": pa.array(n_votes, pa.int32()),
        "agreement": pa.array(alike, pa.float32()),
    }
    return pa.table(columns)


def _named(classes: list[str], positions: Labels) -> pa.Array:
    names = np.array(classes, dtype=object)
    return pa.array(names[positions] if len(positions) else [], pa.string())


def annotator_rows(names: list[str], votes: Labels, consensus: Consensus) -> list[AnnotatorRow]:
    """Return ANNOTATOR_COLUMNS per annotator who voted, the least accurate first.

    accuracy is estimated: the mean probability that what was said is true, with Wilson's interval.
    """
    rows = list(_annotators(names, votes, consensus))
    return sorted(rows, key=lambda row: (row[2], row[0]))


def _annotators(names: list[str], votes: Labels, consensus: Consensus) -> Iterator[AnnotatorRow]:
    best = consensus.posterior.argmax(1)
    for name, column in zip(names, votes.T, strict=True):
        looked = np.flatnonzero(column >= 0)
        if not len(looked):
            continue
        accuracy = float(consensus.posterior[looked, column[looked]].mean())
        low, high = wilson(accuracy * len(looked), len(looked), CONFIDENCE)
        agreement = float((best[looked] == column[looked]).mean())
        yield name, len(looked), round(accuracy, 6), round(low, 6), round(high, 6), round(agreement, 6)
