import numpy as np
import pytest

from stages.lib.bca import Sums, bca, bca_intervals
from stages.lib.score_intervals import Answers, class_sums, mean_sums, score_intervals


def test_bca_equals_scipys_on_the_mean_of_a_skewed_sample():
    from scipy.stats import bootstrap

    values = np.random.default_rng(0).exponential(size=60)
    found = bca_intervals(mean_sums({"mean": values}), np.arange(60), 20_000, 0.95, np.random.default_rng(1))
    expected = bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=2).confidence_interval
    # Two empty rows join ours, so that its draws are a sixtieth wider; the rest is chance.
    assert found["mean"] == pytest.approx([expected.low, expected.high], abs=0.04)


def test_without_bias_or_acceleration_bca_is_the_percentile_interval():
    drawn = np.linspace(-1, 1, 2001)
    assert bca(0.0, drawn, np.array([-1.0, 1.0]), 0.95) == pytest.approx([-0.95, 0.95], abs=1e-9)


def test_members_of_a_group_are_drawn_together_so_copies_add_no_certainty():
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    copies = np.repeat(np.arange(200), 3)

    def width(groups):
        part = class_sums(np.repeat(labels, 3), np.repeat(predicted, 3), 3)
        low, high = bca_intervals(part, groups, 2000, 0.95, np.random.default_rng(1))["macro_f1_ci"]
        return high - low

    assert width(copies) > 1.6 * width(np.arange(600))
    alone = class_sums(labels, predicted, 3)
    low, high = bca_intervals(alone, np.arange(200), 2000, 0.95, np.random.default_rng(1))["macro_f1_ci"]
    assert width(copies) == pytest.approx(high - low, rel=0.1)


def test_no_error_seen_is_not_certainty_for_macro_f1_either():
    labels = np.arange(300) % 3
    part = class_sums(labels, labels, 3)
    for low, high in bca_intervals(part, np.arange(300), 2000, 0.95, np.random.default_rng(0)).values():
        assert high == 1.0
        assert 0.97 < low < 0.995


def test_the_statistics_of_sums_are_the_metrics():
    from stages.lib import metrics

    rng = np.random.default_rng(5)
    labels, predicted = rng.integers(0, 4, 90), rng.integers(0, 5, 90)
    part = class_sums(labels, predicted, 6)
    counts = metrics.confusion(labels, predicted, 6)
    total = part.columns.sum(axis=0)
    assert part.statistics["macro_f1_ci"](total) == pytest.approx(metrics.macro_f1(counts), abs=1e-12)
    recall = part.statistics["balanced_accuracy_ci"](total)
    assert recall == pytest.approx(metrics.balanced_accuracy(counts), abs=1e-12)


def test_an_interval_does_not_depend_on_which_predictions_stand_beside_it(monkeypatch):
    from stages.lib import score_intervals as module

    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, 80)
    answers = {name: Answers(rng.dirichlet(np.ones(3), 80), labels) for name in "abc"}
    together = score_intervals(answers, np.arange(80), 10, 300, 0.95, 0)
    monkeypatch.setattr(module, "COLUMNS_AT_ONCE", 1)
    assert score_intervals(answers, np.arange(80), 10, 300, 0.95, 0) == together


def test_bca_covers_a_skewed_statistic_of_rare_classes():
    rng, held = np.random.default_rng(7), 0
    joint = np.array([[0.60, 0.02, 0.01], [0.03, 0.24, 0.02], [0.02, 0.01, 0.05]])
    joint /= joint.sum()
    truth = np.mean(2 * np.diag(joint) / (joint.sum(0) + joint.sum(1)))
    for _ in range(300):
        cell = rng.choice(9, 400, p=joint.ravel())
        part = class_sums(cell // 3, cell % 3, 3)
        low, high = bca_intervals(part, np.arange(400), 400, 0.95, rng)["macro_f1_ci"]
        held += low <= truth <= high
    assert held / 300 >= 0.92


def test_empty_columns_give_an_interval_without_a_width():
    part = Sums(np.zeros((10, 2)), np.zeros((2, 2)), {"a": lambda totals: totals[..., 0]})
    assert bca_intervals(part, np.arange(10), 100, 0.95, np.random.default_rng(0)) == {"a": (0.0, 0.0)}
