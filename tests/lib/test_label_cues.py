"""Properties that give the label away: planted ones are found, and none is where labels are shuffled."""

import numpy as np
import pytest

from stages.lib.label_cues import Cue, binned, common_values, find_cues, told_apart

N, K = 1200, 6


def cues_of(columns: dict[str, np.ndarray], labels: np.ndarray, draws: int = 99, seed: int = 0) -> list[Cue]:
    bins = {name: binned(column) for name, column in columns.items()}
    return find_cues(bins, labels, np.arange(len(labels)), draws, np.random.default_rng(seed))


def noise(seed: int, n: int = N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"p{number}": rng.normal(size=n) for number in range(8)}


@pytest.mark.parametrize("seed", range(3))
def test_a_property_that_one_class_differs_in_is_found_and_the_class_is_named(seed: int) -> None:
    labels = np.arange(N) % K
    columns = noise(seed)
    columns["brightness"] = np.where(labels == 4, 3.0, 0.0) + np.random.default_rng(seed).normal(size=N)
    first, second, *_ = cues_of(columns, labels)
    assert (first.name, first.told_class) == ("brightness", 4)
    assert first.balanced_accuracy > 0.85
    assert first.p_value == pytest.approx(0.01)
    assert first.accuracy > first.prior_accuracy + 0.08
    assert second.balanced_accuracy < 0.65


def test_one_class_of_a_hundred_is_told_though_accuracy_hardly_moves() -> None:
    labels = np.arange(6000) % 100
    width = np.where(labels == 7, 640.0, 480.0)
    found = cues_of({"width": width}, labels, draws=19)
    assert found[0].told_class == 7
    assert found[0].balanced_accuracy == pytest.approx(1.0)


def test_a_class_in_the_middle_of_a_property_is_told_as_well() -> None:
    labels = np.arange(N) % 3
    spread = np.random.default_rng(0).normal(size=N)
    column = np.where(labels == 1, 0.2 * spread, spread + 4 * np.sign(spread))
    assert cues_of({"p": column}, labels)[0].balanced_accuracy > 0.9


def test_shuffled_labels_raise_an_alarm_no_more_often_than_the_p_value_says() -> None:
    """40 shuffles at p <= 0.05 give 2 alarms on average, over 6 with a chance of 0.004."""
    alarms, strongest = 0, 0.0
    for seed in range(40):
        labels = np.random.default_rng(1000 + seed).permutation(np.arange(N) % K)
        found = cues_of(noise(seed), labels, draws=19, seed=seed)
        alarms += min(cue.p_value for cue in found) <= 0.05
        strongest = max(strongest, *(cue.balanced_accuracy for cue in found))
    assert alarms <= 6
    assert strongest < 0.65


def test_knowing_the_group_is_no_cue() -> None:
    """One sender's pictures share light and label: out of sample by sender, the light says nothing."""
    rng = np.random.default_rng(0)
    groups = np.arange(N) // 40
    labels = rng.integers(0, 3, 30)[groups]
    light = rng.normal(size=30)[groups] + 0.01 * rng.normal(size=N)
    bins = {"light": binned(light)}
    apart = find_cues(bins, labels, groups, 19, np.random.default_rng(0))[0]
    together = find_cues(bins, labels, np.arange(N), 19, np.random.default_rng(0))[0]
    assert together.balanced_accuracy > 0.9
    assert apart.balanced_accuracy < 0.75


def test_balanced_accuracy_is_what_a_plain_loop_counts() -> None:
    rng = np.random.default_rng(0)
    n_bins, fold = 4, rng.integers(0, 5, 500)
    labels, bins = rng.integers(0, 3, 500), rng.integers(0, n_bins, 500)
    table = np.zeros((5, n_bins, 3))
    np.add.at(table, (fold, bins, labels), 1)
    for k in range(3):
        says = np.zeros(500, bool)
        for row in range(500):
            seen = fold != fold[row]
            says[row] = (labels[seen & (bins == bins[row])] == k).mean() > (labels[seen] == k).mean()
        expected = (says[labels == k].mean() + 1 - says[labels != k].mean()) / 2
        assert told_apart(table)[k] == pytest.approx(expected)


def test_properties_of_one_value_or_of_the_same_bins_are_left_out() -> None:
    labels = np.arange(N) % 2
    column = np.random.default_rng(0).normal(size=N)
    found = cues_of({"width": column, "height": 2 * column, "constant": np.ones(N)}, labels, draws=19)
    assert [cue.name for cue in found] == ["width"]


def test_small_classes_are_not_judged_and_one_class_gives_nothing() -> None:
    labels = np.array([0] * 100 + [1] * 100 + [2] * 10)
    column = np.where(labels == 2, 9.0, np.random.default_rng(0).normal(size=210))
    assert all(cue.told_class < 2 for cue in cues_of({"p": column}, labels, draws=19))
    assert cues_of({"p": column}, np.zeros(210, np.int64), draws=19) == []


def test_bins_hold_equal_counts_and_unknown_numbers_have_their_own() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1000.0))
    assert set(np.bincount(binned(values))[1:]) <= {31, 32}
    values[:10] = np.nan
    assert (binned(values)[:10] == 0).all()
    assert not (binned(values)[10:] == 0).any()
    assert not binned(np.full(5, np.nan)).any()


def test_only_values_that_many_share_are_told_apart() -> None:
    words = ["jpg"] * 50 + ["png"] * 45 + [f"patient {k}" for k in range(5)]
    assert np.bincount(common_values(words)).tolist() == [5, 50, 45]
