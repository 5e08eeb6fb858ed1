import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib import metrics
from stages.lib.combining import combine, diversity, em_weights, greedy_weights
from stages.lib.val_choice import choose_combination, choose_views, members_in

KINDS = ("mean", "geometric", "weighted", "greedy")


def members(qualities: list[float], n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (S, n, 4) probabilities of members whose logits carry the label with these strengths."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    logits = rng.normal(size=(len(qualities), n, 4)) + np.array(qualities)[:, None, None] * np.eye(4)[labels]
    powers = np.exp(logits)
    return powers / powers.sum(2, keepdims=True), labels


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_the_geometric_mean_is_the_softmax_of_mean_logits(seed: int, n_members: int) -> None:
    logits = np.random.default_rng(seed).normal(scale=3, size=(n_members, 7, 4))
    parts = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    mean = np.exp(logits.mean(0))
    found = combine(parts, np.full(n_members, 1 / n_members), True)
    np.testing.assert_allclose(found, mean / mean.sum(1, keepdims=True), atol=1e-12)


def test_em_finds_the_weights_that_a_fine_grid_finds() -> None:
    parts, labels = members([2.0, 0.8], 400)
    grid = np.linspace(0, 1, 2001)
    losses = [metrics.log_loss(combine(parts, np.array([w, 1 - w]), False), labels) for w in grid]
    assert em_weights(parts, labels)[0] == pytest.approx(grid[int(np.argmin(losses))], abs=2e-3)


def test_greedy_selection_never_does_worse_on_val_than_its_best_member() -> None:
    for seed in range(5):
        parts, labels = members([1.0, 1.5, 0.2], 200, seed)
        weights = greedy_weights(parts, labels)
        assert weights.sum() == pytest.approx(1)
        best = min(metrics.log_loss(part, labels) for part in parts)
        assert metrics.log_loss(combine(parts, weights, False), labels) <= best + 1e-12


def test_among_equal_members_val_keeps_the_mean() -> None:
    kept = [choose_combination(*members([3.0, 3.0, 3.0], 300, seed), KINDS).name for seed in range(20)]
    # The geometric mean may truly fit better; weights learned from nothing may not be taken for a gain.
    assert sum(name in ("weighted", "greedy") for name in kept) <= 2


def test_a_member_that_knows_nothing_is_weighted_down() -> None:
    found = choose_combination(*members([4.0, 4.0, 0.0], 1000), ("mean", "weighted"))
    assert found.name == "weighted"
    assert found.weights[2] < 0.1
    assert found.figures["weighted"]["gain"] > 2 * found.figures["weighted"]["gain_se"]


def test_views_that_hurt_are_not_chosen_and_views_that_help_are() -> None:
    parts, labels = members([3.0, 0.0, 0.0], 600)
    assert choose_views(parts, np.ones(3), labels).name == "none"
    parts, labels = members([2.0, 2.0, 2.0], 600)
    found = choose_views(parts, np.ones(3), labels)
    assert found.name in ("listed", "added")
    parts, labels = members([2.0, 2.0, 0.0], 600)
    found = choose_views(parts, np.ones(3), labels)
    assert found.name == "added"
    assert found.weights.tolist() == [0.5, 0.5, 0.0]


def test_a_tiny_val_chooses_something_without_failing() -> None:
    parts, labels = members([2.0, 1.0], 1)
    assert choose_combination(parts, labels, KINDS).name == "mean"
    assert choose_views(parts, np.ones(2), labels).name == "none"


def test_diversity_of_copies_is_zero_and_of_strangers_is_what_a_loop_counts() -> None:
    parts, labels = members([1.0, 1.0, 1.0], 50)
    found = diversity(parts, labels)
    assert found is not None
    said = parts.argmax(2)
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found["disagreement"] == pytest.approx(np.mean([(said[a] != said[b]).mean() for a, b in pairs]))
    both = [((said[a] != labels) & (said[b] != labels)).mean() for a, b in pairs]
    assert found["both_wrong"] == pytest.approx(np.mean(both))
    same = diversity(np.stack([parts[0], parts[0]]), labels)
    assert same is not None
    assert (same["disagreement"], same["spread"]) == (0.0, pytest.approx(0.0, abs=1e-12))
    assert diversity(parts[:1], labels) is None


def test_soups_are_judged_by_what_the_averaged_network_says_and_greedy_ones_out_of_fold() -> None:
    parts, labels = members([2.0, 2.0, 0.0], 400)
    asked: list[tuple[int, ...]] = []

    def soup_probs(places: tuple[int, ...]) -> np.ndarray:
        """Give a network as good as its members together, ruined by the one that knows nothing."""
        asked.append(places)
        return parts[2] if 2 in places else combine(parts, np.array([0.5, 0.5, 0.0]), True)

    found = choose_combination(parts, labels, ("mean", "soup", "greedy_soup"), soup_probs)
    assert found.name == "greedy_soup"
    assert members_in(found.weights) == (0, 1)
    assert found.weights.sum() == pytest.approx(1)
    assert set(asked) <= {(0, 1), (0, 2), (1, 2), (0, 1, 2)}
    assert set(choose_combination(parts, labels, ("mean", "soup")).figures) == {"mean"}


def test_diversity_knows_q_and_kappa_as_scikit_learn_and_the_paper_do() -> None:
    from sklearn.metrics import cohen_kappa_score

    parts, labels = members([1.0, 1.0], 300)
    found = diversity(parts, labels)
    assert found is not None
    right = [part.argmax(1) == labels for part in parts]
    assert found["kappa"] == pytest.approx(cohen_kappa_score(*right))
    n11, n00 = (right[0] & right[1]).sum(), (~right[0] & ~right[1]).sum()
    n10, n01 = (right[0] & ~right[1]).sum(), (~right[0] & right[1]).sum()
    assert found["q_statistic"] == pytest.approx((n11 * n00 - n01 * n10) / (n11 * n00 + n01 * n10))
    sure = np.eye(4)[labels][None].repeat(2, 0)
    alike = diversity(sure, labels)
    assert alike is not None
    assert (alike["q_statistic"], alike["kappa"]) == (None, None)
