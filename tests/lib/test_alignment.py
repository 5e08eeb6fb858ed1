"""Residuals against numpy's correlation at every shift, and what they must not mind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.alignment import prepare, residuals


def compare(first: np.ndarray, second: np.ndarray, max_shift: int) -> np.ndarray:
    return residuals(prepare(first, max_shift), prepare(second, max_shift))


def residual_by_loop(first: np.ndarray, second: np.ndarray, max_shift: int) -> float:
    """Grey pictures (s, s): 1 - the best plain correlation coefficient over all overlaps."""
    side, best = len(first), -1.0
    for dy in range(-max_shift, max_shift + 1):
        for dx in range(-max_shift, max_shift + 1):
            ys, xs = slice(max(dy, 0), side + min(dy, 0)), slice(max(dx, 0), side + min(dx, 0))
            yo, xo = slice(max(-dy, 0), side + min(-dy, 0)), slice(max(-dx, 0), side + min(-dx, 0))
            best = max(best, np.corrcoef(first[ys, xs].ravel(), second[yo, xo].ravel())[0, 1])
    return 1 - best


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 13), st.integers(0, 3), st.integers(0, 1000))
def test_residuals_equal_plain_correlation_at_every_shift(side: int, max_shift: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, second = generator.random((2, 3, 1, side, side), np.float32)
    expected = [residual_by_loop(a[0], b[0], max_shift) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(compare(first, second, max_shift), expected, atol=2e-3)


def test_a_picture_and_its_moved_copy_leave_nothing() -> None:
    wide = np.random.default_rng(0).random((4, 3, 12, 12), np.float32)
    assert compare(wide[:, :, 1:11, 2:12], wide[:, :, 2:12, :10], 2).max() < 1e-3


def test_light_contrast_and_tint_do_not_count() -> None:
    images = np.random.default_rng(1).random((4, 3, 9, 9), np.float32)
    tinted = 0.4 * images + np.array([0.1, 0.3, 0.5], np.float32)[:, None, None]
    assert compare(images, tinted, 1).max() < 1e-3


def test_the_order_of_a_pair_does_not_count() -> None:
    first, second = np.random.default_rng(2).random((2, 5, 1, 9, 9), np.float32)
    np.testing.assert_allclose(compare(first, second, 2), compare(second, first, 2), atol=1e-5)


@pytest.mark.parametrize("max_shift", [0, 1])
def test_flat_pictures_are_never_alike(max_shift: int) -> None:
    flat = np.full((2, 1, 8, 8), 0.5, np.float32)
    noisy = flat + np.random.default_rng(3).uniform(-1, 1, flat.shape).astype(np.float32) / 2550
    assert compare(flat, flat, max_shift).min() == pytest.approx(1)
    assert compare(noisy, noisy, max_shift).min() > 0.9


def test_the_same_shape_in_another_channel_is_not_alike() -> None:
    shape = np.random.default_rng(4).random((8, 8), np.float32)
    red, blue = np.zeros((2, 1, 3, 8, 8), np.float32)
    red[0, 0], blue[0, 2] = shape, shape
    assert compare(red, blue, 1)[0] > 0.9
