import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.duplicate_tax import duplicate_tax, independent_difference, meaning
from stages.lib.intervals import wilson

CONFIDENCE = 0.95


def made(n: int, n_leaked: int, p_clean: float, p_leaked: float, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    leaked = np.arange(n) < n_leaked
    correct = rng.random(n) < np.where(leaked, p_leaked, p_clean)
    return duplicate_tax(correct, np.arange(n), leaked, CONFIDENCE)


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.integers(0, 99))
def test_the_tax_is_the_accuracy_with_leaked_samples_minus_that_without(
    n_clean: int, n_leaked: int, p: float, seed: int
) -> None:
    found = made(n_clean + n_leaked, n_leaked, p, 1 - p, seed)
    both, clean = (found[part]["top1_accuracy"] for part in ("with_leaked", "without_leaked"))
    assert found["tax"] == pytest.approx(both - clean)
    assert found["tax_ci"][0] <= found["tax"] <= found["tax_ci"][1]
    assert found["n"] == found["without_leaked"]["n"] + found["leaked_alone"]["n"]


def test_newcombes_own_example_is_met() -> None:
    """Newcombe 1998 (Statistics in Medicine 17, 873), table II, method 10: 56/70 - 48/80."""
    low, high = independent_difference(56 / 70, wilson(56, 70, 0.95), 48 / 80, wilson(48, 80, 0.95))
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)


def test_the_interval_covers_the_planted_tax() -> None:
    """Planted: 80 of 400 samples leak, with 0.95 against 0.85 right, so the tax is 0.2 · 0.1 = 0.02."""
    intervals = [made(400, 80, 0.85, 0.95, seed)["tax_ci"] for seed in range(400)]
    covered = np.mean([low <= 0.02 <= high for low, high in intervals])
    # Four standard deviations of a share of 400 around 0.95, and no less than 0.9.
    assert 0.9 < covered < 1


def test_without_leaks_or_without_clean_samples_there_is_no_tax() -> None:
    none = made(50, 0, 0.9, 0.9)
    assert (none["tax"], none["leaked_alone"], none["n_leaked"]) == (None, None, 0)
    everything = made(50, 50, 0.9, 0.9)
    assert (everything["tax"], everything["without_leaked"]) == (None, None)


def test_the_sentence_says_what_is_shown_and_no_more() -> None:
    assert "because the split was made so that none has" in meaning("m", made(50, 0, 0.9, 0.9), False)
    assert "None of 50 test images has a known copy or group mate in train: " in meaning(
        "m", made(50, 0, 0.9, 0.9), True
    )
    assert "are owed to them" in meaning("m", made(4000, 1000, 0.6, 0.99), True)
    assert "flatter nobody" in meaning("m", made(4000, 1000, 0.99, 0.6), True)
    assert "is not shown" in meaning("m", made(400, 1, 0.9, 0.9), True)
    assert "no clean one" in meaning("m", made(9, 9, 0.9, 0.9), True)
