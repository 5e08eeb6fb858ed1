"""Fold networks: they learn what is there, from distributions too, and write the same numbers again."""

import numpy as np
import pytest

from stages.lib.errors import InputError
from stages.lib.fold_networks import Networks, predict_fold

HOW = Networks(widths=(16, 16), epochs=6, shift=0.05, mirror=False, brief=False, seed=0)

TOO_DEEP = Networks(widths=(8, 8, 8), epochs=1, shift=0.0, mirror=False, brief=False, seed=0)

LONGER = Networks(widths=(16, 16), epochs=12, shift=0.05, mirror=False, brief=False, seed=0)


def stripes(n: int, seed: int = 0, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 12, 12, C) uint8 of upright (0), level (1) or slanting (2) stripes in noise; labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    y, x = np.mgrid[:12, :12]
    waves = np.stack([np.sin(1.5 * x), np.sin(1.5 * y), np.sin(1.1 * (x + y))])
    noise = rng.normal(0, 0.5, (n, 12, 12, channels))
    return np.clip(128 + 50 * (waves[labels][..., None] + noise), 0, 255).astype(np.uint8), labels


def accuracy(targets: np.ndarray, how: Networks = HOW) -> float:
    pixels, labels = stripes(700)
    seen, unseen = np.arange(600), np.arange(600, 700)
    probs = predict_fold(pixels, targets, seen, unseen, how, 0)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    return float((probs.argmax(1) == labels[unseen]).mean())


@pytest.mark.parametrize("brief", [False, True])
def test_unseen_pictures_are_told_apart(brief: bool) -> None:
    how = Networks((16, 16), 6, 0.05, mirror=False, brief=brief, seed=0)
    assert accuracy(np.eye(3)[stripes(700)[1]], how) > 0.9


def test_a_third_of_wrong_labels_does_not_hide_what_is_common() -> None:
    labels = stripes(700)[1]
    wrong = np.random.default_rng(1).random(700) < 0.33
    assert accuracy(np.eye(3)[np.where(wrong, (labels + 1) % 3, labels)], LONGER) > 0.8  # labels: 0.67


def test_shares_of_votes_are_targets_too() -> None:
    assert accuracy(0.7 * np.eye(3)[stripes(700)[1]] + 0.1) > 0.9


def test_the_same_seed_gives_the_same_numbers_and_another_fold_others() -> None:
    pixels, labels = stripes(90)
    goals, seen, unseen = np.eye(3)[labels], np.arange(60), np.arange(60, 90)
    one, again, other = (predict_fold(pixels, goals, seen, unseen, HOW, fold) for fold in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_what_is_unseen_is_not_learned_from() -> None:
    pixels, labels = stripes(90)
    seen, unseen = np.arange(60), np.arange(60, 90)
    goals = np.eye(3)[labels]
    one = predict_fold(pixels, goals, seen, unseen, HOW, 0)
    goals[unseen] = 1 / 3
    np.testing.assert_array_equal(predict_fold(pixels, goals, seen, unseen, HOW, 0), one)


def test_images_too_small_for_the_widths_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"label_noise\.widths: .* are 3 stages.* of 9 pixels at least"):
        predict_fold(
            np.zeros((4, 8, 8, 3), np.uint8), np.eye(4), np.arange(3), np.array([3]), TOO_DEEP, fold=0
        )
