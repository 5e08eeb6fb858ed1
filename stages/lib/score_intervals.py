"""Intervals of all but plain shares: balanced accuracy, macro-F1, AUROC, log loss, Brier, calibration error.

All predictions of the same samples are resampled together, group by group (`lib/bca.py`); a calibration error
has an interval of its own kind (`lib/gap_interval.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.lib import metrics
from stages.lib.auroc import auroc_pseudo_values
from stages.lib.bca import Statistic, Sums, intervals_of
from stages.lib.gap_interval import gap_interval
from stages.lib.intervals import Interval, group_sums, resampled_sums

COLUMNS_AT_ONCE = 2048
"""Columns resampled together: with 10,000 draws 160 MB. Ten predictions of ten classes have 660."""


N_TABLES = 5
"""Tables of sums a prediction: classes, means, areas, and the bins of both calibration errors."""


@dataclass(frozen=True)
class Answers:
    """One prediction of N samples: pred_probs (N, K) float64 beside labels (N,) int64."""

    pred_probs: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class _Tables:
    classes: Sums
    means: Sums
    areas: Sums
    even: np.ndarray
    full: np.ndarray


def score_intervals(
    answers: Mapping[str, Answers],
    groups: np.ndarray,
    n_bins: int,
    draws: int,
    confidence: float,
    seed: int,
) -> dict[str, dict[str, Interval]]:
    """Return {name: {metric_ci: interval}} of predictions of the same samples in groups (N,) int 0..G-1."""
    found: dict[str, dict[str, Interval]] = {}
    for names in _batches(answers):
        tables = [_tables(answers[name], n_bins) for name in names]
        observed = [table for part in tables for table in _observed(part, groups)]
        # One seed for every batch: the draws are the same, however many predictions fit into one.
        drawn = resampled_sums(observed, draws, np.random.default_rng(seed))
        for place, (name, part) in enumerate(zip(names, tables, strict=True)):
            own = slice(N_TABLES * place, N_TABLES * (place + 1))
            found[name] = _intervals(part, observed[own], drawn[own], confidence)
    return found


def _batches(answers: Mapping[str, Answers]) -> Iterator[list[str]]:
    batch: list[str] = []
    columns = 0
    for name, given in answers.items():
        width = 3 * given.pred_probs.shape[1] + 40
        if batch and columns + width > COLUMNS_AT_ONCE:
            yield batch
            batch, columns = [], 0
        batch.append(name)
        columns += width
    if batch:
        yield batch


def _tables(given: Answers, n_bins: int) -> _Tables:
    predicted = metrics.top1(given.pred_probs)
    confidence = given.pred_probs.max(axis=1)
    gap = confidence - (predicted == given.labels)
    return _Tables(
        classes=class_sums(given.labels, predicted, given.pred_probs.shape[1]),
        means=mean_sums(
            {
                "log_loss_ci": metrics.log_losses(given.pred_probs, given.labels),
                "brier_ci": metrics.brier_scores(given.pred_probs, given.labels),
            }
        ),
        areas=area_sums(auroc_pseudo_values(given.pred_probs, given.labels)),
        even=_in_bins(gap, metrics.even_bins(confidence, n_bins), n_bins),
        full=_in_bins(gap, metrics.full_bins(confidence, n_bins), n_bins),
    )


def class_sums(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> Sums:
    """Return the sums that make balanced accuracy and macro-F1, with two made-up answers over all classes."""
    actual, said = (_one_hot(classes, n_classes) for classes in (labels, predicted))
    ones = np.full(n_classes, 1 / n_classes)
    made_up = np.stack([np.concatenate([ones, ones, ones * right]) for right in (1.0, 0.0)])
    return Sums(
        np.hstack([actual, said, actual * said]),
        made_up,
        {"balanced_accuracy_ci": _balanced_accuracy, "macro_f1_ci": _macro_f1},
    )


def _one_hot(classes: np.ndarray, n_classes: int) -> np.ndarray:
    # A byte a cell: of 1,000 classes and 20,000 samples there are sixty million cells.
    found = np.zeros((len(classes), n_classes), np.uint8)
    found[np.arange(len(classes)), classes] = 1
    return found


def _balanced_accuracy(totals: np.ndarray) -> np.ndarray:
    actual, _, right = np.split(totals, 3, axis=-1)
    occurs = (actual > 0).sum(axis=-1)
    return np.asarray((right / np.where(actual > 0, actual, 1.0)).sum(axis=-1) / np.maximum(occurs, 1))


def _macro_f1(totals: np.ndarray) -> np.ndarray:
    actual, said, right = np.split(totals, 3, axis=-1)
    both = actual + said
    concerned = (both > 0).sum(axis=-1)
    return np.asarray((2 * right / np.where(both > 0, both, 1.0)).sum(axis=-1) / np.maximum(concerned, 1))


def mean_sums(values: Mapping[str, np.ndarray]) -> Sums:
    """Return the sums that make means over samples of columns (N,); the two made-up rows are empty."""
    columns = np.stack([*values.values(), np.ones(len(next(iter(values.values()))))], axis=1)
    statistics = {name: _mean_of(place) for place, name in enumerate(values)}
    return Sums(columns, np.zeros((2, columns.shape[1])), statistics)


def _mean_of(place: int) -> Statistic:
    return lambda totals: np.asarray(totals[..., place] / np.maximum(totals[..., -1], 1.0))


def area_sums(pseudo_values: np.ndarray) -> Sums:
    """Return the sums that make the AUROC from pseudo-values (N,), without and with the two made-up answers.

    Near 1 it hangs on the few worst samples, which a small test set may have missed: plainly resampled, 300
    images in ten classes cover 0.997 in 69 % of repeats. So the lower end may come from the made-up wrong
    answer, and the upper end from what was seen alone (`bench/coverage.py`).
    """
    known = np.isfinite(pseudo_values)
    values = np.where(known, pseudo_values, 0.0)
    ones = known.astype(np.float64)
    columns = np.stack([values, ones, values, ones], axis=1)
    made_up = np.array([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    return Sums(columns, made_up, {"seen": _ratio_of(0), "with_made_up": _ratio_of(2)})


def _ratio_of(place: int) -> Statistic:
    return lambda totals: np.asarray(totals[..., place] / np.maximum(totals[..., place + 1], 1e-9))


def _area_interval(
    part: _Tables, observed: np.ndarray, drawn: np.ndarray, confidence: float
) -> dict[str, Interval]:
    if not part.areas.columns[:, 1].any():
        return {}
    ends = intervals_of(part.areas, observed, drawn, confidence).values()
    return {"auroc_ci": (max(0.0, min(low for low, _ in ends)), min(1.0, max(high for _, high in ends)))}


def _in_bins(gap: np.ndarray, place: np.ndarray, n_bins: int) -> np.ndarray:
    found = np.zeros((len(gap), n_bins))
    found[np.arange(len(gap)), place] = gap
    return found


def _observed(part: _Tables, groups: np.ndarray) -> list[np.ndarray]:
    empty = np.zeros((2, part.even.shape[1]))
    bins = [np.vstack([group_sums(table, groups), empty]) for table in (part.even, part.full)]
    sums = [
        np.vstack([group_sums(sums.columns, groups), sums.made_up])
        for sums in (part.classes, part.means, part.areas)
    ]
    return [*sums, *bins]


def _intervals(
    part: _Tables, observed: Sequence[np.ndarray], drawn: Sequence[np.ndarray], confidence: float
) -> dict[str, Interval]:
    found = intervals_of(part.classes, observed[0], drawn[0], confidence)
    found |= intervals_of(part.means, observed[1], drawn[1], confidence)
    found |= _area_interval(part, observed[2], drawn[2], confidence)
    n = len(part.even)
    for name, place in (("ece_ci", 3), ("ece_adaptive_ci", 4)):
        found[name] = gap_interval(observed[place].sum(axis=0) / n, drawn[place] / n, confidence)
    return found
