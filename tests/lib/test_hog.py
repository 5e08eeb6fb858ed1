"""Gradient histograms against a plain loop over pixels."""

import numpy as np
import pytest

from stages.lib.hog import CLIP, hog, orientation_votes
from stages.lib.pooling import pool, triangle_weights


def votes_by_loop(grey: np.ndarray, orientations: int) -> np.ndarray:
    side = len(grey)
    votes = np.zeros((orientations, side, side))
    for y in range(side):
        for x in range(side):
            gx = grey[y, min(x + 1, side - 1)] - grey[y, max(x - 1, 0)]
            gy = grey[min(y + 1, side - 1), x] - grey[max(y - 1, 0), x]
            turn = (np.arctan2(gy, gx) % np.pi) * orientations / np.pi
            low = int(np.floor(turn))
            share = turn - low
            votes[low % orientations, y, x] += (1 - share) * np.hypot(gx, gy)
            votes[(low + 1) % orientations, y, x] += share * np.hypot(gx, gy)
    return votes


@pytest.mark.parametrize("orientations", [4, 8, 9])
def test_votes_equal_a_loop_over_pixels(orientations: int) -> None:
    grey = np.random.default_rng(0).random((1, 12, 12), np.float32)
    np.testing.assert_allclose(
        orientation_votes(grey, orientations)[0], votes_by_loop(grey[0], orientations), atol=1e-5
    )


def test_every_vote_is_counted_once_in_the_cells() -> None:
    votes = orientation_votes(np.random.default_rng(1).random((2, 17, 17), np.float32), 8)
    cells = pool(votes, triangle_weights(17, 5))
    np.testing.assert_allclose(cells.sum((1, 2, 3)), votes.sum((1, 2, 3)), rtol=1e-4)


def test_no_orientation_owns_a_block() -> None:
    stripes = np.tile(np.array([0, 0, 1, 1], np.float32), 8)[None, None, :].repeat(32, 1)
    described = hog(stripes, 4, 8)
    assert described.shape == (1, 4 * 8 * 9)
    assert described.max() <= 1
    assert (described > CLIP).any()


def test_turning_contrast_round_changes_nothing() -> None:
    grey = np.random.default_rng(2).random((3, 16, 16), np.float32)
    np.testing.assert_allclose(hog(grey, 4, 8), hog(1 - grey, 4, 8), atol=1e-4)


def test_a_flat_image_has_no_gradients() -> None:
    assert not hog(np.full((1, 9, 9), 0.5, np.float32), 3, 8).any()
