import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.auroc import auroc, auroc_pseudo_values
from stages.lib.score_intervals import Answers, score_intervals


def answers(seed, n=60, k=3, digits=2):
    """Return scores with ties, and labels of every class but perhaps one."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[labels]
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.round(probs, digits), labels


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_pseudo_values_have_the_area_as_their_mean(seed, digits):
    probs, labels = answers(seed, digits=digits)
    assert auroc_pseudo_values(probs, labels).mean() == pytest.approx(auroc(probs, labels), abs=1e-12)


def test_their_spread_is_delongs_by_a_plain_loop_over_pairs():
    probs, labels = answers(3, n=80, k=2)
    score, positive = probs[:, 1], labels == 1
    m, n = int(positive.sum()), int((~positive).sum())
    wins = (score[positive][:, None] > score[~positive]) + 0.5 * (
        score[positive][:, None] == score[~positive]
    )
    # DeLong et al. 1988, with populations' variances: the plug-in form.
    variance = wins.mean(axis=1).var() / m + wins.mean(axis=0).var() / n
    pseudo = auroc_pseudo_values(np.stack([1 - score, score], axis=1), labels)
    assert pseudo.var() / len(labels) == pytest.approx(variance, rel=1e-9)


def test_without_a_second_class_there_is_neither_area_nor_interval():
    probs, _ = answers(0)
    alone = np.zeros(len(probs), np.int64)
    assert np.isnan(auroc_pseudo_values(probs, alone)).all()
    found = score_intervals({"it": Answers(probs, alone)}, np.arange(len(probs)), 5, 200, 0.95, 0)["it"]
    assert "auroc_ci" not in found


def test_a_perfect_area_is_not_certain():
    labels = np.arange(300) % 3
    probs = 0.05 + 0.85 * np.eye(3)[labels]
    low, high = score_intervals({"it": Answers(probs, labels)}, np.arange(300), 5, 500, 0.95, 0)["it"][
        "auroc_ci"
    ]
    assert high == 1.0
    assert 0.97 < low < 0.995


def test_samples_in_groups_make_the_interval_wider():
    probs, labels = answers(1, n=120)
    thrice = {"it": Answers(np.repeat(probs, 3, axis=0), np.repeat(labels, 3))}
    widths = []
    for groups in (np.arange(360), np.repeat(np.arange(120), 3)):
        low, high = score_intervals(thrice, groups, 5, 1000, 0.95, 0)["it"]["auroc_ci"]
        widths.append(high - low)
    assert widths[1] > 1.5 * widths[0]
