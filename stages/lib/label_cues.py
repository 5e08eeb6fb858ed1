"""Properties of the picture-taking that give the label away: cues a network may learn instead of the thing.

Each property (brightness, width, format, …) is cut into at most 32 bins of equal count, or its common values.
A bin says "this class" where the class is more frequent in it than in all, as counted in the other folds: so
what is told is out of sample. How far that tells one class from the rest is a balanced accuracy: the mean of
the shares found among the class and among the others, 0.5 by chance whatever the class's size. The strongest
class speaks for the property: a cue that gives one class of a hundred away hardly moves the overall accuracy.

Significance is a permutation test against the largest value over all properties and classes of the same
shuffle (Westfall & Young 1993), which corrects p for how many were looked at. With thousands of samples next
to nothing is insignificant: what is called a cue must also be strong.

Samples of one group (copies, one sender) share a fold, so that knowing the group does not pass for a cue.
Cost: 1 s for 60,000 samples, 20 properties and 10 classes; from 100,000 samples on, every so-manyth is taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.lib.crossval import grouped_folds

Labels = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

FOLDS = 5
MOST_BINS = 32
"""16 tell a class of a tenth with a frame apart in 0.85 of CIFAR-10's pictures, 32 in 0.86, 64 no better."""

PER_BIN = 25
"""Samples a bin should hold: with fewer, what is counted in one fold hardly holds in the next."""

COMMON = 0.1
MIN_CLASS = 25
"""Samples a class needs to be judged: the share found of 25 is known to 0.2 at best."""

MOST_SAMPLES = 100_000
"""Enough to know a share to 0.003; more cost time and tell nothing new."""


@dataclass(frozen=True)
class Cue:
    """What one property tells of the label, out of sample.

    accuracy, prior_accuracy: of naming the likeliest class with and without the property; told_class: the
    class that it tells best from the rest, with that balanced_accuracy; p_value: corrected for all
    properties.
    """

    name: str
    accuracy: float
    prior_accuracy: float
    told_class: int
    balanced_accuracy: float
    p_value: float


def binned(values: npt.NDArray[np.floating]) -> Labels:
    """Cut numbers (n,) into bins of about equal count, equal numbers in one bin; NaN is a bin of its own."""
    known = np.isfinite(values)
    n_bins = max(2, min(MOST_BINS, int(known.sum()) // PER_BIN))
    if not known.any():
        return np.zeros(len(values), np.int64)
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, n_bins + 1)[1:-1]))
    found = np.searchsorted(edges, values, side="left") + 1
    return np.where(known, found, 0).astype(np.int64)


def common_values(values: Sequence[str]) -> Labels:
    """Number the values (n,) that at least a tenth of all samples share; 0 is all others.

    So a name that few share (a patient, a sender) says nothing, one that many share (a hospital) may.
    """
    names, number, times = np.unique(np.array(values, dtype=str), return_inverse=True, return_counts=True)
    common = times >= max(COMMON * len(values), 1)
    place = np.where(common, np.cumsum(common), 0)
    return np.asarray(place[number], dtype=np.int64) if len(names) else np.zeros(0, np.int64)


def find_cues(
    bins: Mapping[str, Labels], labels: Labels, groups: Labels, draws: int, generator: np.random.Generator
) -> list[Cue]:
    """Judge properties by their bins (n,) against labels (n,) 0...K - 1; the strongest first.

    Properties of one bin, and those whose bins repeat an earlier one's, are left out; none are judged where
    fewer than two classes are large enough.
    """
    step = max(1, -(-len(labels) // MOST_SAMPLES))
    labels, groups = labels[::step], groups[::step]
    kept = _distinct({name: column[::step] for name, column in bins.items()})
    sizes = np.bincount(labels)
    large = np.flatnonzero(sizes >= MIN_CLASS)
    if len(large) < 2 or not kept:
        return []
    fold = grouped_folds(labels, groups, FOLDS, generator)
    cells = {name: fold * (column.max() + 1) + column for name, column in kept.items()}
    tables = {name: counted(cell, labels, len(sizes)) for name, cell in cells.items()}
    null = np.zeros(draws)
    for draw in range(draws):
        shuffled = generator.permutation(labels)
        strongest = [told_apart(counted(cell, shuffled, len(sizes)))[large].max() for cell in cells.values()]
        null[draw] = max(strongest)
    cues = [_cue(name, table, large, null) for name, table in tables.items()]
    return sorted(cues, key=lambda cue: (-cue.balanced_accuracy, cue.name))


def _distinct(bins: Mapping[str, Labels]) -> dict[str, Labels]:
    """Number the bins that occur from 0; leave out what is all one bin, or as another property's bins."""
    found: dict[str, Labels] = {}
    seen: set[bytes] = set()
    for name, column in bins.items():
        number = np.unique(column, return_inverse=True)[1].astype(np.int64)
        key = number.tobytes()
        if len(number) and number.max() > 0 and key not in seen:
            seen.add(key)
            found[name] = number
    return found


def counted(cells: Labels, labels: Labels, n_classes: int) -> Doubles:
    """Count samples by fold, bin and class, (FOLDS, B, K); cells (n,) are fold * B + bin, all bins occur."""
    n_cells = -(-(int(cells.max()) + 1) // FOLDS) * FOLDS
    table = np.bincount(cells * n_classes + labels, minlength=n_cells * n_classes)
    return table.reshape(FOLDS, -1, n_classes).astype(np.float64)


def told_apart(table: Doubles) -> Doubles:
    """Return each class's balanced accuracy against the rest, (K,), out of sample; table as by `counted`."""
    others = table.sum(0) - table
    in_bin, overall = others.sum(2, keepdims=True), others.sum(1, keepdims=True)
    # Says "this class": its share in the bin is above its share in all, cross-multiplied.
    says = others * overall.sum(2, keepdims=True) > overall * in_bin
    in_class, in_all = table.sum((0, 1)), table.sum()
    found = (table * says).sum((0, 1))
    wrongly = (table.sum(2, keepdims=True) * says).sum((0, 1)) - found
    share: Doubles = (found / np.maximum(in_class, 1) + 1 - wrongly / np.maximum(in_all - in_class, 1)) / 2
    return share


def accuracies(table: Doubles) -> tuple[float, float]:
    """Return how often the likeliest class is right, out of sample, with the bin known and without."""
    others = table.sum(0) - table
    overall = others.sum(1, keepdims=True)
    # One sample's worth of the overall shares settles bins that were empty in the other folds.
    likeliest = (others + overall / np.maximum(overall.sum(2, keepdims=True), 1)).argmax(2)
    right = np.take_along_axis(table, likeliest[..., None], axis=2).sum()
    blind = np.take_along_axis(table.sum(1), overall.argmax(2), axis=1).sum()
    return float(right / table.sum()), float(blind / table.sum())


def _cue(name: str, table: Doubles, large: Labels, null: Doubles) -> Cue:
    told = told_apart(table)[large]
    best = int(told.argmax())
    p_value = (1 + int((null >= told[best]).sum())) / (1 + len(null))
    return Cue(name, *accuracies(table), int(large[best]), float(told[best]), p_value)
