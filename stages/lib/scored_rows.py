"""What `evaluate` hands to the report: its results, and the main prediction's answers on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.lib import metrics
from stages.lib.slices import Slice
from stages.lib.truth import Entry, Truth


@dataclass(frozen=True)
class Tables:
    """What stands in tables of its own rather than in metrics.json, all of test.

    classes: `class_records` of the main prediction; curve: rows of `abstention.COLUMNS`; slices: all tested;
    robustness: rows of `robustness_table.COLUMNS`.
    """

    classes: Mapping[str, Mapping[str, Any]]
    curve: Sequence[tuple[float | int, ...]]
    slices: Sequence[Slice]
    robustness: Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` computed: results as in metrics.json; `main` is the one that speaks for the model.

    `questions` says for each comparison by name what it answers: baseline or ingredient.
    """

    truth: Truth
    entries: Mapping[str, Entry]
    results: Mapping[str, Any]
    main: str
    questions: Mapping[str, str]
    confidence: float
    ece_bins: int
    draws: int
    top_k: int
    tables: Tables


@dataclass(frozen=True)
class MainRows:
    """The main prediction on test: labels, predicted and groups (M,) int64, pred_probs (M, K) float64."""

    sample_ids: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray
    pred_probs: np.ndarray


def main_rows(evaluation: Evaluation) -> MainRows:
    """Return the main prediction on test."""
    truth, entry = evaluation.truth, evaluation.entries[evaluation.main]
    kept = truth.split[entry.positions] == "test"
    positions = entry.positions[kept]
    return MainRows(
        sample_ids=tuple(truth.sample_ids[position] for position in positions),
        labels=truth.labels[positions],
        predicted=metrics.top1(entry.pred_probs[kept]),
        groups=truth.groups[positions],
        pred_probs=entry.pred_probs[kept].astype(np.float64),
    )


def worst_errors(rows: MainRows) -> list[int]:
    """Return the rows that are wrong, the most confident first."""
    wrong = np.flatnonzero(rows.labels != rows.predicted)
    confidence = rows.pred_probs.max(axis=1)
    return sorted(wrong.tolist(), key=lambda row: (-confidence[row], rows.sample_ids[row]))
