import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.sample_facts import thirds
from stages.lib.slices import find_slices, fisher, summary, worse_slices


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.data())
def test_fishers_test_is_scipys(n_a: int, n_b: int, data: st.DataObject) -> None:
    from scipy.stats import fisher_exact

    wrong_a, wrong_b = data.draw(st.integers(0, n_a)), data.draw(st.integers(0, n_b))
    expected = fisher_exact([[wrong_a, n_a - wrong_a], [wrong_b, n_b - wrong_b]]).pvalue
    assert fisher(wrong_a, n_a, wrong_b, n_b) == pytest.approx(expected, abs=1e-9)


def world(seed: int, bad: float) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Return correctness of 1,200 images; blurry ones of class "b" are right in `bad`, others in 0.95."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(["a", "b", "c"], 1200)
    blurry = rng.choice(["yes", ""], 1200, p=[0.3, 0.7])
    chance = np.where((classes == "b") & (blurry == "yes"), bad, 0.95)
    return rng.random(1200) < chance, {"class": classes.tolist(), "quality: blurry": blurry.tolist()}


def test_a_planted_bad_pair_of_values_is_found_first_and_shown_as_worse() -> None:
    right, attributes = world(0, 0.5)
    found = find_slices(right, np.arange(1200), attributes, 20, 0.95)
    assert found[0].values == (("class", "b"), ("quality: blurry", "yes"))
    assert found[0] in worse_slices(found, 0.95)
    assert found[0].interval[0] <= found[0].accuracy <= found[0].interval[1]
    assert found[0].n == sum(a == "b" and q == "yes" for a, q in zip(*attributes.values(), strict=True))
    assert summary(found, 0.95)["worst_accuracy"] <= found[0].accuracy


def test_where_nothing_is_worse_a_slice_is_shown_as_worse_in_at_most_five_percent_of_worlds() -> None:
    false = 0
    for seed in range(100):
        right, attributes = world(seed, 0.95)
        false += bool(worse_slices(find_slices(right, np.arange(1200), attributes, 20, 0.95), 0.95))
    assert false <= 5


def test_copies_of_a_few_failures_do_not_make_a_slice_worse() -> None:
    right = np.ones(400, bool)
    right[:20] = False
    attributes = {"class": ["a"] * 60 + ["b"] * 340}
    alone = find_slices(right, np.arange(400), attributes, 20, 0.95)
    assert worse_slices(alone, 0.95)
    copies = np.concatenate([np.zeros(20, np.int64), np.arange(1, 381)])
    assert not worse_slices(find_slices(right, copies, attributes, 20, 0.95), 0.95)


def test_small_slices_empty_values_and_whole_sets_are_not_tested() -> None:
    right = np.ones(100, bool)
    attributes = {"class": ["a"] * 95 + ["b"] * 5, "group": [""] * 100, "size": ["small"] * 100}
    assert find_slices(right, np.arange(100), attributes, 20, 0.95) == []
    assert summary([], 0.95) == {"n_tested": 0, "n_worse": 0, "worst_accuracy": None}


def test_thirds_by_side_are_told_only_where_sides_differ() -> None:
    assert thirds(np.array([8, 8, 8])) == ["", "", ""]
    assert thirds(np.array([10, 20, 30, 40, 50, 60])) == ["small"] * 2 + ["middle"] * 2 + ["large"] * 2
