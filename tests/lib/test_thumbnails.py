"""Thumbnails: luma, at most 32 pixels, of the rows asked for; large scratch arrays live in files."""

import numpy as np
import pytest

from stages.lib import scratch as scratch_module
from stages.lib.scratch import scratch
from stages.lib.thumbnails import SIDE, thumbnails


@pytest.mark.parametrize(("side", "expected"), [(8, 8), (32, 32), (96, SIDE)])
def test_colour_becomes_luma_of_at_most_32_pixels(side: int, expected: int) -> None:
    pixels = np.zeros((3, side, side, 3), np.uint8)
    pixels[..., 1] = 100
    small = thumbnails(pixels, np.array([2, 0]))
    assert small.shape == (2, expected, expected)
    assert set(np.unique(small).tolist()) == {59}


def test_grey_pictures_stay_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)
    np.testing.assert_array_equal(thumbnails(pixels, np.array([3, 1])), pixels[[3, 1], ..., 0])


def test_a_large_scratch_array_is_mapped_and_holds_what_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_module, "IN_MEMORY_BYTES", 100)
    assert not isinstance(scratch((5, 5), np.float32), np.memmap)
    array = scratch((6, 5), np.float32)
    array[:] = 7
    assert isinstance(array, np.memmap)
    assert array.sum() == 210
