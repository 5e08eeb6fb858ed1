"""The record of every prediction on val and test: metrics with intervals, and their spread over seeds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.lib import metrics
from stages.lib.auroc import auroc
from stages.lib.intervals import accuracy_interval
from stages.lib.score_intervals import Answers, score_intervals
from stages.lib.truth import SCORED, Entry, Truth

SEED_NAME = re.compile(r"seed\d+(?P<views>_tta)?")

SPREAD_METRICS = ("balanced_accuracy", "macro_f1", "log_loss")
"""Besides accuracy, what is told as mean and deviation over seeds."""


@dataclass(frozen=True)
class Scoring:
    """How predictions are scored: level, draws and seed of intervals, bins of calibration, k of top-k."""

    confidence: float
    draws: int
    seed: int
    ece_bins: int
    top_k: int


def part(truth: Truth, entry: Entry, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (pred_probs (M, K) float64, labels (M,), groups (M,) 0..G-1) of the samples of one split."""
    rows = truth.split[entry.positions] == split
    positions = entry.positions[rows]
    groups = np.unique(truth.groups[positions], return_inverse=True)[1]
    return entry.pred_probs[rows].astype(np.float64), truth.labels[positions], groups


def score(truth: Truth, entry: Entry, split: str, how: Scoring) -> dict[str, Any] | None:
    """Return the record of one prediction on one split; None where it covers none of its samples."""
    pred_probs, labels, groups = part(truth, entry, split)
    if not len(labels):
        return None
    predicted = metrics.top1(pred_probs)
    counts = metrics.confusion(labels, predicted, len(truth.classes))
    return {
        "n": len(labels),
        "top1_accuracy": metrics.top1_accuracy(counts),
        "top1_accuracy_ci": list(accuracy_interval(predicted == labels, groups, how.confidence)),
        "topk_accuracy": metrics.topk_accuracy(pred_probs, labels, how.top_k),
        "balanced_accuracy": metrics.balanced_accuracy(counts),
        "macro_f1": metrics.macro_f1(counts),
        "auroc": auroc(pred_probs, labels),
        "log_loss": metrics.log_loss(pred_probs, labels),
        "brier": metrics.brier(pred_probs, labels),
        "ece": metrics.ece(metrics.calibration_table(pred_probs, labels, how.ece_bins)),
        "ece_adaptive": metrics.ece_adaptive(pred_probs, labels, how.ece_bins),
    }


def score_all(
    truth: Truth, entries: Mapping[str, Entry], how: Scoring
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return {split: {name: record}}; on test with the intervals of all metrics, on val of accuracy alone."""
    found = {
        split: {
            name: record
            for name, entry in entries.items()
            if (record := score(truth, entry, split, how)) is not None
        }
        for split in SCORED
    }
    for name, intervals in test_intervals(truth, entries, how).items():
        told = {key: list(interval) for key, interval in intervals.items()}
        # There is no area where test holds one class.
        found["test"][name] |= {"auroc_ci": None} | told
    return found


def test_intervals(
    truth: Truth, entries: Mapping[str, Entry], how: Scoring
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return every prediction's intervals on test; those of the same samples share their resamples."""
    alike: dict[bytes, list[str]] = {}
    parts = {name: part(truth, entry, "test") for name, entry in entries.items()}
    for name, (_, labels, _) in parts.items():
        if len(labels):
            rows = entries[name].positions[truth.split[entries[name].positions] == "test"]
            alike.setdefault(rows.tobytes(), []).append(name)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for names in alike.values():
        answers = {name: Answers(*parts[name][:2]) for name in names}
        groups = parts[names[0]][2]
        found |= score_intervals(answers, groups, how.ece_bins, how.draws, how.confidence, how.seed)
    return found


def class_records(truth: Truth, entry: Entry, confidence: float) -> dict[str, dict[str, Any]]:
    """Return {class: n, recall with interval, precision, f1, n predicted} of one prediction on test."""
    pred_probs, labels, groups = part(truth, entry, "test")
    predicted = metrics.top1(pred_probs)
    counts = metrics.confusion(labels, predicted, len(truth.classes))
    found = {}
    for k, (name, record) in enumerate(zip(truth.classes, metrics.per_class(counts), strict=True)):
        own = labels == k
        among = np.unique(groups[own], return_inverse=True)[1]
        interval = accuracy_interval(predicted[own] == k, among, confidence) if own.any() else None
        found[name] = {
            "n": record.n,
            "n_predicted": int(counts[:, k].sum()),
            "recall": record.recall,
            "recall_ci": list(interval) if interval else None,
            "precision": record.precision,
            "f1": record.f1,
        }
    return found


def seed_names(names: Sequence[str], views: str = "") -> list[str]:
    """Return the names of single networks, plain or (views="_tta") seen through several views, by seed."""
    matches = [match for name in names if (match := SEED_NAME.fullmatch(name))]
    found = [match[0] for match in matches if (match["views"] or "") == views]
    return sorted(found, key=lambda name: int("".join(filter(str.isdigit, name))))


def over_seeds(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation (n - 1) of the metrics of single networks, and their number."""
    found = {}
    for views in ("", "_tta"):
        records = [scores[name] for name in seed_names(list(scores), views)]
        if records:
            spread: dict[str, Any] = {"n_seeds": len(records)}
            for metric in ("top1_accuracy", *SPREAD_METRICS):
                values = [record[metric] for record in records]
                spread[f"{metric}_mean"] = float(np.mean(values))
                spread[f"{metric}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
            found[f"seed{views}"] = spread
    return found
