"""What a release claims of its model, computed from scored samples alone: anybody can compute it again.

The stage that makes a release, the check that reads one without the data, and the check that scores the test
set anew all call `make_claims`; a figure that only one of them can make is no claim.
- Accuracy and paired differences carry the intervals of `lib/intervals.py`, drawn from a recorded seed.
- The calibration temperature and the abstention threshold are fitted on val and told on test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.lib import metrics
from stages.lib.artifacts import read_table, write_table
from stages.lib.calibration import answered, sure_temperature, threshold_for, warm
from stages.lib.errors import InputError
from stages.lib.intervals import accuracy_interval, paired_intervals

OTHER_PREFIX = "predicted_"
UNSEEN = -1
"""A prediction that does not cover a sample: people annotate what they were shown."""

FACTS = ("sample_id", "sha256", "split", "label", "group")


@dataclass(frozen=True)
class Settings:
    """How claims are drawn: level and draws of intervals, their seed, bins of the calibration error, and the
    share of errors among answered images that abstention aims at.
    """

    confidence: float
    bootstrap_draws: int
    seed: int
    ece_bins: int
    max_answered_error: float


@dataclass(frozen=True)
class Scored:
    """The N val and test samples as the released model saw them.

    split (N,) val|test; labels, groups (N,) int64; pred_probs (N, K) float32, before calibration; others: the
    class positions (N,) that the predictions it is compared with chose, UNSEEN where they have none.
    """

    sample_ids: tuple[str, ...]
    sha256: tuple[str, ...]
    split: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    pred_probs: np.ndarray
    others: Mapping[str, np.ndarray]

    def part(self, split: str) -> np.ndarray:
        """Return the positions of one split's samples."""
        return np.flatnonzero(self.split == split)


def make_claims(scored: Scored, classes: tuple[str, ...], settings: Settings) -> dict[str, Any]:
    """Return every figure that the release states; InputError without val or test samples."""
    val, test = scored.part("val"), scored.part("test")
    if not len(val) or not len(test):
        raise InputError("a release needs val samples to calibrate on and test samples to be judged by")
    temperature = sure_temperature(scored.pred_probs[val], scored.labels[val])
    confident = warm(scored.pred_probs, temperature)
    threshold = threshold_for(confident[val], scored.labels[val], settings.max_answered_error)
    return {
        "n_val": len(val),
        "test": _accuracy(scored, test, settings)
        | _figures(scored.pred_probs[test], scored.labels[test], settings),
        "calibrated": {"temperature": temperature} | _figures(confident[test], scored.labels[test], settings),
        "abstention": {"threshold": threshold} | answered(confident[test], scored.labels[test], threshold),
        "classes": _by_class(scored, test, classes),
        "comparisons": _comparisons(scored, test, settings),
    }


def _accuracy(scored: Scored, rows: np.ndarray, settings: Settings) -> dict[str, Any]:
    correct = metrics.top1(scored.pred_probs[rows]) == scored.labels[rows]
    groups = _numbered(scored.groups[rows])
    interval = accuracy_interval(correct, groups, settings.confidence)
    return {"n": len(rows), "top1_accuracy": float(correct.mean()), "top1_accuracy_ci": list(interval)}


def _figures(pred_probs: np.ndarray, labels: np.ndarray, settings: Settings) -> dict[str, float]:
    probs = pred_probs.astype(np.float64)
    counts = metrics.confusion(labels, metrics.top1(probs), probs.shape[1])
    return {
        "balanced_accuracy": metrics.balanced_accuracy(counts),
        "ece": metrics.ece(metrics.calibration_table(probs, labels, settings.ece_bins)),
        "log_loss": metrics.log_loss(probs, labels),
        "macro_f1": metrics.macro_f1(counts),
    }


def _by_class(scored: Scored, rows: np.ndarray, classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    counts = metrics.confusion(scored.labels[rows], metrics.top1(scored.pred_probs[rows]), len(classes))
    scores = metrics.per_class(counts)
    return {
        name: {"n": score.n, "top1_accuracy": score.recall}
        for name, score in zip(classes, scores, strict=True)
    }


def _comparisons(scored: Scored, rows: np.ndarray, settings: Settings) -> dict[str, dict[str, Any]]:
    """Return model minus other, in accuracy on the samples both cover, with paired intervals."""
    if not scored.others:
        return {}
    names = sorted(scored.others)
    right = metrics.top1(scored.pred_probs[rows]) == scored.labels[rows]
    columns = []
    for name in names:
        other = scored.others[name][rows]
        covered = np.where(other == UNSEEN, np.nan, other == scored.labels[rows])
        columns.append(right - covered)
    differences = np.stack(columns, axis=1)
    rng = np.random.default_rng(settings.seed)
    groups = _numbered(scored.groups[rows])
    intervals = paired_intervals(differences, groups, settings.bootstrap_draws, settings.confidence, rng)
    return {
        name: {
            "difference": float(np.nanmean(column)),
            "ci": list(interval),
            "n": int(np.isfinite(column).sum()),
        }
        for name, column, interval in zip(names, differences.T, intervals, strict=True)
        if np.isfinite(column).any()
    }


def _numbered(groups: np.ndarray) -> np.ndarray:
    return np.unique(groups, return_inverse=True)[1]


def write_scored(path: Path, scored: Scored) -> None:
    """Write one row a sample."""
    n_classes = scored.pred_probs.shape[1]
    flat = pa.array(np.ascontiguousarray(scored.pred_probs, np.float32).reshape(-1))
    columns = {
        "sample_id": pa.array(scored.sample_ids, pa.string()),
        "sha256": pa.array(scored.sha256, pa.string()),
        "split": pa.array(scored.split.tolist(), pa.string()),
        "label": pa.array(scored.labels, pa.int64()),
        "group": pa.array(scored.groups, pa.int64()),
        "pred_probs": pa.FixedSizeListArray.from_arrays(flat, n_classes),
    }
    others = {
        OTHER_PREFIX + name: pa.array(chosen, pa.int64()) for name, chosen in sorted(scored.others.items())
    }
    write_table(path, pa.table(columns | others))


def read_scored(path: Path) -> Scored:
    """Read what `write_scored` wrote; InputError where it is no such table."""
    try:
        table = read_table(path)
        probs = table["pred_probs"].combine_chunks()
        flat = probs.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
        numbers = {
            name: np.array(table[name].to_pylist(), np.int64)
            for name in table.column_names
            if _is_number(name)
        }
        return Scored(
            sample_ids=tuple(table["sample_id"].to_pylist()),
            sha256=tuple(table["sha256"].to_pylist()),
            split=np.array(table["split"].to_pylist(), np.str_),
            labels=numbers["label"],
            groups=numbers["group"],
            pred_probs=flat.reshape(len(table), -1),
            others={
                name.removeprefix(OTHER_PREFIX): numbers[name]
                for name in numbers
                if name.startswith(OTHER_PREFIX)
            },
        )
    except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a table of scored samples ({error})") from error


def _is_number(name: str) -> bool:
    return name in ("label", "group") or name.startswith(OTHER_PREFIX)
