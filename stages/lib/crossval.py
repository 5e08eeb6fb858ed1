"""Folds for out-of-sample prediction: stratified by class, one picture never on both sides."""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


def grouped_folds(labels: Labels, groups: Labels, folds: int, generator: np.random.Generator) -> Labels:
    """Deal samples into `folds`, (n,) int64 in 0...folds - 1; samples of one group share a fold.

    Groups are shuffled within the class of their first sample and dealt in turn, one class after the other: a
    class's groups spread as evenly as their number allows, and no fold collects all classes' remainders.
    (scikit-learn's StratifiedGroupKFold loops over groups in Python and warns about rare classes.)
    """
    numbers, first, place = np.unique(groups, return_index=True, return_inverse=True)
    shuffled = generator.permutation(len(numbers))
    order = shuffled[np.argsort(labels[first][shuffled], kind="stable")]
    fold = np.empty(len(numbers), np.int64)
    fold[order] = np.arange(len(numbers)) % folds
    dealt: Labels = fold[place]
    return dealt


def pictures_per_class(labels: Labels, groups: Labels, n_classes: int) -> Labels:
    """Count the distinct groups that hold each class, (n_classes,)."""
    distinct = np.unique(np.stack([labels, groups], axis=1), axis=0)
    return np.bincount(distinct[:, 0], minlength=n_classes).astype(np.int64)
