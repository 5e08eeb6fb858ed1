"""Folds: groups stay whole, classes spread evenly, and the seed decides."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.crossval import grouped_folds, pictures_per_class

SAMPLES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=80)


@given(SAMPLES, st.integers(2, 7), st.integers(0, 9))
def test_a_group_shares_a_fold(samples: list[tuple[int, int]], folds: int, seed: int) -> None:
    labels, groups = np.array(samples, np.int64).T
    fold = grouped_folds(labels, groups, folds, np.random.default_rng(seed))
    assert set(fold.tolist()) <= set(range(folds))
    assert all(len(set(fold[groups == group].tolist())) == 1 for group in set(groups.tolist()))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=100), st.integers(2, 7), st.integers(0, 9))
def test_without_copies_each_class_spreads_evenly(classes: list[int], folds: int, seed: int) -> None:
    labels = np.array(classes, np.int64)
    fold = grouped_folds(labels, np.arange(len(labels)), folds, np.random.default_rng(seed))
    for name in set(classes):
        counts = np.bincount(fold[labels == name], minlength=folds)
        assert counts.max() - counts.min() <= 1
    sizes = np.bincount(fold, minlength=folds)
    assert sizes.max() - sizes.min() <= 1


def test_the_seed_decides_the_folds() -> None:
    labels, groups = np.zeros(50, np.int64), np.arange(50)
    first, again, other = (grouped_folds(labels, groups, 5, np.random.default_rng(s)) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_picture_counts_once_for_its_class() -> None:
    labels, groups = np.array([0, 0, 0, 1, 2]), np.array([5, 5, 6, 5, 7])
    np.testing.assert_array_equal(pictures_per_class(labels, groups, 4), [2, 1, 1, 0])
