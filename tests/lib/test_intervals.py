from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib import intervals

ALONE = np.arange(359)


def coverage(p, n, groups, repeats, rng, of_group=None):
    """Return how often the interval of simulated samples holds the truth."""
    held = 0
    for _ in range(repeats):
        correct = rng.random(n) < p if of_group is None else (rng.random(of_group) < p)[groups]
        low, high = intervals.accuracy_interval(correct, groups, 0.95)
        held += low <= p <= high
    return held / repeats


@pytest.mark.parametrize("p", [0.1, 0.5, 0.967, 0.99, 0.994, 0.999])
def test_the_accuracy_interval_covers_the_truth_near_its_level(p):
    # 2,000 repeats know a coverage within 0.01; Wilson's is discrete, so 0.93 to 0.985 is what theory gives.
    assert 0.93 <= coverage(p, 359, ALONE, 2000, np.random.default_rng(5)) <= 0.985


def test_intervals_that_ignore_groups_cover_too_rarely_and_ours_do_not():
    rng, groups = np.random.default_rng(3), np.repeat(np.arange(100), 4)
    assert coverage(0.9, 400, groups, 1000, rng, of_group=100) >= 0.93
    ignoring = 0
    for _ in range(1000):
        correct = (rng.random(100) < 0.9)[groups]
        low, high = intervals.wilson(correct.sum(), 400, 0.95)
        ignoring += low <= 0.9 <= high
    assert ignoring / 1000 < 0.80


def test_wilson_equals_the_roots_of_its_defining_equation():
    z = 1.959963984540054
    for low_or_high in intervals.wilson(340, 359, 0.95):
        score = (340 / 359 - low_or_high) ** 2 / (low_or_high * (1 - low_or_high) / 359)
        assert score == pytest.approx(z**2, rel=1e-9)


def test_no_error_seen_is_not_certainty():
    low, high = intervals.accuracy_interval(np.ones(359, bool), ALONE, 0.95)
    assert high == 1.0
    assert low == pytest.approx(0.98941, abs=1e-4)
    copies = np.zeros(359, np.int64)
    assert intervals.accuracy_interval(np.ones(359, bool), copies, 0.95)[0] < 0.3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=60), st.integers(0, 2**32))
def test_the_accuracy_interval_holds_the_estimate_and_groups_only_widen_it(correct, seed):
    values = np.array(correct)
    groups = np.unique(np.random.default_rng(seed).integers(0, 10, len(values)), return_inverse=True)[1]
    low, high = intervals.accuracy_interval(values, groups, 0.95)
    alone = intervals.accuracy_interval(values, np.arange(len(values)), 0.95)
    assert 0 <= low <= values.mean() <= high <= 1
    assert high - low >= (alone[1] - alone[0]) - 1e-12


def test_bootstrap_sums_equal_a_plain_loop_over_the_same_draws(monkeypatch):
    sums = np.random.default_rng(0).normal(size=(7, 3))
    monkeypatch.setattr(intervals, "WEIGHTS_IN_MEMORY", 7 * 4)
    found = intervals.bootstrap_sums(sums, 10, np.random.default_rng(9))
    rng = np.random.default_rng(9)
    for draw in range(10):
        drawn = rng.integers(0, 7, size=7)
        assert found[draw] == pytest.approx(sums[drawn].sum(axis=0), abs=1e-12)


def test_paired_intervals_equal_a_plain_bootstrap_of_groups_and_made_up_pairs():
    rng = np.random.default_rng(2)
    differences = rng.choice([-1.0, 0.0, 1.0], p=[0.02, 0.9, 0.08], size=(200, 1))
    groups = np.repeat(np.arange(100), 2)
    found = intervals.paired_intervals(differences, groups, 4000, 0.95, np.random.default_rng(1))[0]
    blocks = [differences[groups == g, 0] for g in range(100)] + [
        np.array([value]) for value in intervals.PSEUDO_DIFFERENCES
    ]
    means = [np.concatenate([blocks[i] for i in rng.integers(0, 104, 104)]).mean() for _ in range(4000)]
    assert found == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.004)


@pytest.mark.parametrize(("gain", "loss"), [(0.03, 0.003), (0.01, 0.01), (0.0, 0.0), (0.3, 0.1)])
def test_the_interval_of_a_difference_covers_the_truth(gain, loss):
    rng, held = np.random.default_rng(4), 0
    for _ in range(300):
        differences = rng.choice([1.0, -1.0, 0.0], p=[gain, loss, 1 - gain - loss], size=(359, 1))
        low, high = intervals.paired_intervals(differences, ALONE, 200, 0.95, rng)[0]
        held += low <= gain - loss <= high
    assert held / 300 >= 0.91


def test_two_models_that_never_disagree_still_get_an_interval_with_a_width():
    low, high = intervals.paired_intervals(np.zeros((359, 1)), ALONE, 2000, 0.95, np.random.default_rng(0))[0]
    assert low < 0 < high
    assert high - low < 0.03


def test_samples_that_one_prediction_lacks_do_not_count():
    rng = np.random.default_rng(0)
    whole = rng.choice([-1.0, 0.0, 1.0], size=(300, 1))
    padded = np.vstack([whole, np.full((300, 1), np.nan)])
    few = intervals.paired_intervals(whole, np.arange(300), 3000, 0.95, np.random.default_rng(1))[0]
    same = intervals.paired_intervals(padded, np.arange(600), 3000, 0.95, np.random.default_rng(1))[0]
    assert same == pytest.approx(few, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_sign_test_is_mcnemars_exact_test_when_every_group_is_one_sample(gains, losses):
    from scipy.stats import binomtest

    differences = np.array([1] * gains + [-1] * losses + [0] * 5)
    expected = binomtest(gains, gains + losses, 0.5).pvalue if gains + losses else 1.0
    assert intervals.sign_flip_p_value(differences) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_the_sign_test_equals_flipping_every_sign(differences):
    sizes = [abs(value) for value in differences if value]
    sums = [
        sum(s * v for s, v in zip(signs, sizes, strict=True)) for signs in product((1, -1), repeat=len(sizes))
    ]
    extreme = sum(abs(value) >= abs(sum(differences)) for value in sums)
    found = intervals.sign_flip_p_value(np.array(differences))
    assert found == pytest.approx(float(Fraction(extreme, len(sums))), abs=1e-12)


def test_equal_models_are_called_different_in_at_most_five_percent():
    rng = np.random.default_rng(8)
    p_values = [
        intervals.sign_flip_p_value(rng.choice([1, -1, 0], p=[0.02, 0.02, 0.96], size=359))
        for _ in range(800)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05


def test_holm_equals_its_definition_and_keeps_the_order_of_the_input():
    assert intervals.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert intervals.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferroni(p_values):
    for raw, corrected in zip(p_values, intervals.holm(p_values), strict=True):
        assert raw <= corrected <= min(1.0, raw * len(p_values)) + 1e-12


def test_wide_and_mostly_empty_tables_are_summed_as_a_matrix_product_would():
    rng = np.random.default_rng(0)
    wide = np.zeros((90, 400))
    wide[np.arange(90), rng.integers(0, 400, 90)] = rng.normal(size=90)
    narrow = rng.normal(size=(90, 3))
    found = intervals.resampled_sums([wide, narrow], 50, np.random.default_rng(1))
    plain = intervals.resampled_sums([wide[:, :200], wide[:, 200:], narrow], 50, np.random.default_rng(1))
    assert np.allclose(found[0], np.hstack(plain[:2]), atol=1e-12)
    assert np.array_equal(found[1], plain[2])
