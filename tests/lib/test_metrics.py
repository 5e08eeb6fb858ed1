import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib import metrics
from stages.lib.auroc import auroc, auroc_by_class


@st.composite
def predictions(draw):
    """Return (pred_probs (N, K), labels (N,)), classes missing at will."""
    n, k = draw(st.integers(1, 40)), draw(st.integers(2, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sharpness = draw(st.sampled_from([0.05, 1.0, 20.0]))
    probs = rng.dirichlet(np.full(k, sharpness), size=n)
    return probs, rng.integers(0, draw(st.integers(1, k)), size=n)


def counts_of(pred_probs, labels):
    return metrics.confusion(labels, metrics.top1(pred_probs), pred_probs.shape[1])


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_all_metrics_equal_scikit_learns(case):
    from sklearn import metrics as reference

    pred_probs, labels = case
    predicted, counts, k = metrics.top1(pred_probs), counts_of(*case), pred_probs.shape[1]
    assert (counts == reference.confusion_matrix(labels, predicted, labels=range(k))).all()
    assert metrics.top1_accuracy(counts) == pytest.approx(
        reference.accuracy_score(labels, predicted), abs=1e-9
    )
    recalls = reference.recall_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert metrics.balanced_accuracy(counts) == pytest.approx(recalls, abs=1e-9)
    assert metrics.macro_f1(counts) == pytest.approx(
        reference.f1_score(labels, predicted, average="macro", zero_division=0), abs=1e-9
    )
    clipped = np.clip(pred_probs, metrics.LOG_LOSS_FLOOR, 1.0)
    given_probs = -np.log(clipped[np.arange(len(labels)), labels]).mean()
    assert metrics.log_loss(pred_probs, labels) == pytest.approx(given_probs, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(predictions(), st.integers(1, 6))
def test_topk_brier_and_auroc_equal_scikit_learns(case, k):
    from sklearn import metrics as reference

    pred_probs, labels = case
    n_classes = pred_probs.shape[1]
    if n_classes > 2 and k < n_classes and len(np.unique(pred_probs)) == pred_probs.size:
        expected = reference.top_k_accuracy_score(labels, pred_probs, k=k, labels=range(n_classes))
        assert metrics.topk_accuracy(pred_probs, labels, k) == pytest.approx(expected, abs=1e-9)
    whole = pred_probs / pred_probs.sum(1, keepdims=True)
    expected = reference.brier_score_loss(np.eye(n_classes)[labels], whole, scale_by_half=False)
    assert metrics.brier(whole, labels) == pytest.approx(expected, abs=1e-9)
    areas = auroc_by_class(pred_probs, labels)
    for c in range(n_classes):
        if 0 < (labels == c).sum() < len(labels):
            expected = reference.roc_auc_score(labels == c, pred_probs[:, c])
            assert areas[c] == pytest.approx(expected, abs=1e-9)
        else:
            assert np.isnan(areas[c])


def test_the_macro_auroc_equals_scikit_learns_also_where_probabilities_are_tied():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(3)
    probs = rng.integers(1, 4, size=(200, 4)) / 1.0
    probs /= probs.sum(1, keepdims=True)
    labels = rng.integers(0, 4, 200)
    expected = roc_auc_score(labels, probs, multi_class="ovr", average="macro")
    assert auroc(probs, labels) == pytest.approx(expected, abs=1e-9)
    assert auroc(probs, np.zeros(200, np.int64)) is None


def test_the_topk_of_all_classes_is_certain_and_of_one_is_top1():
    rng = np.random.default_rng(4)
    probs, labels = rng.dirichlet(np.ones(5), size=100), rng.integers(0, 5, 100)
    assert metrics.topk_accuracy(probs, labels, 5) == 1.0
    assert metrics.topk_accuracy(probs, labels, 1) == np.mean(probs.argmax(1) == labels)
    even = np.full((100, 5), 0.2)
    assert metrics.topk_accuracy(even, labels, 1) == np.mean(labels == 0)


@settings(max_examples=60, deadline=None)
@given(predictions(), st.integers(2, 20))
def test_adaptive_ece_equals_a_plain_loop_over_ranked_samples(case, n_bins):
    pred_probs, labels = case
    n = len(labels)
    confidences = sorted(row.max() for row in pred_probs)
    bins: dict[int, list[float]] = {}
    for row, label in zip(pred_probs, labels, strict=True):
        bins.setdefault(confidences.index(row.max()) * n_bins // n, []).append(
            row.max() - (row.argmax() == label)
        )
    expected = sum(abs(sum(gaps)) for gaps in bins.values()) / n
    assert metrics.ece_adaptive(pred_probs, labels, n_bins) == pytest.approx(expected, abs=1e-9)


def test_log_loss_equals_scikit_learns_on_probabilities_above_the_floor():
    from sklearn.metrics import log_loss

    rng = np.random.default_rng(0)
    probs, labels = rng.dirichlet(np.ones(5) * 3, size=200), rng.integers(0, 5, 200)
    assert metrics.log_loss(probs, labels) == pytest.approx(
        log_loss(labels, probs, labels=range(5)), abs=1e-9
    )


def test_a_one_hot_prediction_that_is_wrong_pays_a_finite_price():
    assert metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(15.942385, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(predictions(), st.integers(2, 20))
def test_ece_equals_a_plain_loop_over_bins(case, n_bins):
    pred_probs, labels = case
    total = 0.0
    for i in range(n_bins):
        rows = [r for r in range(len(labels)) if i < pred_probs[r].max() * n_bins <= i + 1]
        if rows:
            confidence = np.mean([pred_probs[r].max() for r in rows])
            accuracy = np.mean([pred_probs[r].argmax() == labels[r] for r in rows])
            total += len(rows) / len(labels) * abs(confidence - accuracy)
    table = metrics.calibration_table(pred_probs, labels, n_bins)
    assert metrics.ece(table) == pytest.approx(total, abs=1e-9)
    assert sum(row.n for row in table) == len(labels)


def test_a_calibrated_model_has_a_smaller_ece_than_an_overconfident_one():
    rng = np.random.default_rng(1)
    right = rng.random(20_000) < 0.8
    labels = np.where(right, 0, 1)
    honest = np.tile([0.8, 0.2], (20_000, 1))
    boastful = np.tile([0.99, 0.01], (20_000, 1))
    assert metrics.ece(metrics.calibration_table(honest, labels, 15)) < 0.01
    assert metrics.ece(metrics.calibration_table(boastful, labels, 15)) == pytest.approx(0.19, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(predictions())
def test_per_class_scores_add_up_to_the_confusion_matrix(case):
    from sklearn.metrics import precision_recall_fscore_support

    counts, k = counts_of(*case), case[0].shape[1]
    scores = metrics.per_class(counts)
    assert sum(score.n for score in scores) == len(case[1])
    assert sum(score.correct for score in scores) == np.trace(counts)
    precision, recall, f1, _ = precision_recall_fscore_support(
        case[1], metrics.top1(case[0]), labels=range(k), zero_division=0
    )
    for i, score in enumerate(scores):
        assert (score.recall or 0.0) == pytest.approx(recall[i], abs=1e-9)
        assert (score.precision or 0.0) == pytest.approx(precision[i], abs=1e-9)
        assert score.f1 == pytest.approx(f1[i], abs=1e-9)


def test_a_class_knows_what_it_is_most_often_taken_for():
    counts = np.array([[5, 1, 3], [0, 4, 0], [0, 0, 0]])
    first, second, third = metrics.per_class(counts)
    assert (first.confused_with, first.confused_n) == (2, 3)
    assert second.confused_with is None
    assert third.recall is None
