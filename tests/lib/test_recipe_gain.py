import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.lib.recipe_gain import recipe_gain, t_cdf


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 30), st.floats(1, 500))
@example(1e-8, 1.0)
def test_the_t_distribution_is_scipys(value: float, degrees: float) -> None:
    from scipy.stats import t

    # At (1e-8, 1) scipy itself is 1.6e-9 off Cauchy's distribution, which the next test takes.
    assert t_cdf(value, degrees) == pytest.approx(t.cdf(value, degrees), abs=1e-8)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 30))
@example(1e-8)
def test_the_t_distribution_is_exact_where_it_has_a_closed_form(value: float) -> None:
    assert t_cdf(value, 1.0) == pytest.approx(0.5 + math.atan(value) / math.pi, abs=1e-12)
    assert t_cdf(value, 2.0) == pytest.approx(0.5 + value / (2 * math.sqrt(2 + value**2)), abs=1e-12)


def made_networks(n: int, seeds: int, accuracy: float, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Return correctness (n, seeds) of networks whose true accuracy varies by `spread` from seed to seed."""
    hard = rng.random((n, 1))
    return (rng.random((n, seeds)) < accuracy + rng.normal(0, spread, seeds) - 0.1 * (hard < 0.2)).astype(
        float
    )


def test_identical_recipes_are_told_apart_in_at_most_five_percent() -> None:
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(300):
        both = made_networks(2000, 6, 0.85, 0.01, rng)
        low, high = recipe_gain(both[:, :3], both[:, 3:], np.arange(2000), 0.95).interval
        false += not low <= 0 <= high
    assert false / 300 <= 0.05


def test_a_real_gain_is_found_with_its_size() -> None:
    rng = np.random.default_rng(1)
    a, b = made_networks(5000, 3, 0.9, 0.003, rng), made_networks(5000, 3, 0.84, 0.003, rng)
    found = recipe_gain(a, b, np.arange(5000), 0.95)
    low, high = found.interval
    assert 0 < low < 0.06 < high < 0.12
    assert found.p_value < 0.01
    assert found.difference == pytest.approx(a.mean() - b.mean())


def test_the_p_value_is_small_exactly_where_the_interval_leaves_out_zero() -> None:
    rng = np.random.default_rng(2)
    for gain in np.linspace(0, 0.04, 20):
        a, b = made_networks(800, 3, 0.8 + gain, 0.004, rng), made_networks(800, 2, 0.8, 0.004, rng)
        found = recipe_gain(a, b, np.arange(800), 0.95)
        assert (found.p_value < 0.05) == (not found.interval[0] <= 0 <= found.interval[1])


def test_copies_add_no_certainty_and_one_network_is_no_recipe() -> None:
    rng = np.random.default_rng(3)
    a, b = made_networks(300, 3, 0.9, 0.0, rng), made_networks(300, 3, 0.8, 0.0, rng)
    alone = recipe_gain(a, b, np.arange(300), 0.95).interval
    copied = recipe_gain(
        np.repeat(a, 4, axis=0), np.repeat(b, 4, axis=0), np.repeat(np.arange(300), 4), 0.95
    ).interval
    assert copied == pytest.approx(alone, abs=0.01)
    assert recipe_gain(a[:, :1], b, np.arange(300), 0.95) is None
