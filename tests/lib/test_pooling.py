"""Weight matrices: averages stay averages, votes are neither lost nor made."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.pooling import area_weights, planes, pool, triangle_weights

SIZES = st.integers(1, 70)


@given(SIZES, SIZES)
def test_area_cells_average_their_pixels(size: int, cells: int) -> None:
    weights = area_weights(size, cells)
    assert weights.shape == (cells, size)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    # Every pixel counts for the same area in the whole.
    np.testing.assert_allclose(weights.sum(0) * size / cells, 1, rtol=1e-3)


@given(SIZES, SIZES)
def test_a_pixels_votes_add_up_to_one(size: int, cells: int) -> None:
    np.testing.assert_allclose(triangle_weights(size, cells).sum(0), 1, rtol=1e-4)


def test_whole_blocks_are_plain_means() -> None:
    images = np.random.default_rng(0).random((2, 8, 8), np.float32)
    means = images.reshape(2, 4, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(pool(images, area_weights(8, 4)), means, rtol=1e-5)


def test_planes_are_channels_first_in_unit_range_and_never_enlarged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), np.uint8)
    np.testing.assert_allclose(planes(pixels, 16), np.moveaxis(pixels, 3, 1) / 255, rtol=1e-6)
    assert planes(pixels, 5).shape == (2, 3, 5, 5)
