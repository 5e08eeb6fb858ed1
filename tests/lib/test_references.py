"""Nearest neighbours and support vectors against scikit-learn's own, and their bounds."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from stages.lib import neighbour_reference
from stages.lib.dataset import Dataset
from stages.lib.kernel_reference import KernelParams, fit_svc, gaussian
from stages.lib.neighbour_reference import (
    Metric,
    NeighbourParams,
    fit_neighbours,
    nearest_rows,
    vote_score,
    votes,
)
from stages.lib.reference import Reference, at_most, score, spaces

NEIGHBOURS = NeighbourParams(knn_k=(1, 3, 9), knn_metrics=("euclidean", "cosine"), knn_max_train=500)
KERNEL = KernelParams(svc_c=(0.1, 1.0, 10.0), svc_max_train=500)


def clouds(n: int = 240, seed: int = 0) -> tuple[Dataset, np.ndarray]:
    """Return three overlapping clouds of vectors (n, 5) and a data set whose pictures say nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    vectors = (rng.normal(size=(3, 5)) * 2)[labels] + rng.normal(size=(n, 5))
    split = np.array(["train", "train", "val", "test"])[np.arange(n) % 4]
    pixels = np.zeros((n, 4, 4, 1), np.uint8)
    return Dataset(tuple(map(str, range(n))), pixels, labels, split, ("a", "b", "c")), vectors.astype(
        np.float32
    )


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_nearest_are_those_of_scikit_learn(metric: Metric) -> None:
    dataset, vectors = clouds()
    base, rows = dataset.part("train"), dataset.part("val", "test")
    peer = KNeighborsClassifier(5, metric=metric, algorithm="brute").fit(vectors[base], dataset.labels[base])
    wanted = peer.kneighbors(vectors[rows], return_distance=False)
    np.testing.assert_array_equal(nearest_rows(vectors, base, rows, 5, metric), wanted)


def test_k_and_metric_are_the_best_on_val_of_scikit_learns() -> None:
    dataset, vectors = clouds(seed=3)
    train, val = dataset.part("train"), dataset.part("val")
    found = fit_neighbours({"embedding": vectors}, dataset, val, NEIGHBOURS, 0)
    best = max(
        KNeighborsClassifier(k, metric=metric, algorithm="brute")
        .fit(vectors[train], dataset.labels[train])
        .score(vectors[val], dataset.labels[val])
        for k in NEIGHBOURS.knn_k
        for metric in NEIGHBOURS.knn_metrics
    )
    # Ties of votes are broken by the classes' shares here, by their order there.
    assert found.told["val_top1_accuracy"] == pytest.approx(best, abs=1.5 / len(val))
    assert score(found.pred_probs, dataset.labels[val])[0] == found.told["val_top1_accuracy"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(2, 6))
def test_votes_are_scored_as_if_all_classes_were_laid_out(seed: int, k: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    near, labels = rng.integers(0, n_classes, (30, k)), rng.integers(0, n_classes, 30)
    prior = np.bincount(rng.integers(0, n_classes, 64), minlength=n_classes) / 64  # exact in binary
    expected = score(votes(near, prior), labels)
    np.testing.assert_allclose(vote_score(near, prior, labels), expected, atol=1e-6)
    with mock.patch.object(neighbour_reference, "COMPARED", 7 * k * k):  # seven rows at a time
        np.testing.assert_allclose(vote_score(near, prior, labels), expected, atol=1e-6)


def test_the_kernel_is_that_of_scikit_learns_gamma_scale_and_so_are_the_answers() -> None:
    dataset, vectors = clouds(seed=1)
    train, rows = dataset.part("train"), dataset.part("val", "test")
    found = fit_svc({"embedding": vectors}, dataset, rows, KERNEL, 0)
    assert isinstance(found, Reference)
    peer = SVC(C=found.told["c"], gamma="scale").fit(vectors[train].astype(float), dataset.labels[train])
    np.testing.assert_array_equal(found.pred_probs.argmax(1), peer.predict(vectors[rows].astype(float)))
    assert gaussian(vectors, train, train).diagonal() == pytest.approx(np.ones(len(train)))


def test_nothing_is_chosen_by_test() -> None:
    dataset, vectors = clouds()
    val, test = dataset.part("val"), dataset.part("test")
    changed, labels = vectors.copy(), dataset.labels.copy()
    changed[test], labels[test] = 99.0, 0
    altered = Dataset(dataset.sample_ids, dataset.pixels, labels, dataset.split, dataset.classes)
    for honest, again in (
        (
            fit_neighbours({"e": v}, d, val, NEIGHBOURS, 0)
            for d, v in ((dataset, vectors), (altered, changed))
        ),
        (fit_svc({"e": v}, d, val, KERNEL, 0) for d, v in ((dataset, vectors), (altered, changed))),
    ):
        assert isinstance(honest, Reference)
        assert isinstance(again, Reference)
        assert honest.told == again.told
        np.testing.assert_array_equal(honest.pred_probs, again.pred_probs)


def test_two_classes_are_told_apart_as_well() -> None:
    dataset, vectors = clouds(seed=2)
    two = Dataset(dataset.sample_ids, dataset.pixels, dataset.labels % 2, dataset.split, ("a", "b"))
    found = fit_svc({"e": vectors}, two, two.part("test"), KERNEL, 0)
    assert isinstance(found, Reference)
    assert found.pred_probs.sum(1) == pytest.approx(np.ones(len(two.part("test"))))
    assert score(found.pred_probs, two.labels[two.part("test")])[0] > 0.7


def test_a_bound_keeps_every_class_by_its_share_and_the_order() -> None:
    labels = np.repeat([0, 1, 2], [900, 95, 5])
    rows = np.arange(1000, 2000)
    kept = at_most(rows, labels, 100, seed=0)
    assert np.bincount(labels[kept - 1000]).tolist() == [90, 9, 1]
    assert (np.diff(kept) > 0).all()
    assert at_most(rows, labels, 1000, seed=0) is rows


def test_large_pictures_are_averaged_before_distances_are_taken() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found = spaces(pixels, np.zeros((3, 2), np.float32))
    assert found["pixels"].shape == (3, 16 * 16 * 3)
    means = pixels.reshape(3, 16, 4, 16, 4, 3).mean((2, 4)).transpose(0, 3, 1, 2).reshape(3, -1) / 255
    np.testing.assert_allclose(found["pixels"], means, atol=1e-5)
