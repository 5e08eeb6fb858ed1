import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.square import Fit, fit_square, without_needless_colour

WHITE = (255, 255, 255)
BLUE = (10, 20, 200)


def halves() -> np.ndarray:
    """(10, 40) grey: left half 0, right half 200."""
    return np.repeat([0, 200], 20).astype(np.uint8)[None].repeat(10, 0)


def test_a_square_of_the_stored_size_is_not_touched() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fit_square(image, 8, "pad", WHITE), image)


def test_pad_keeps_everything_between_bars_of_the_background() -> None:
    square = fit_square(halves(), 40, "pad", WHITE)
    assert square.shape == (40, 40)
    np.testing.assert_array_equal(square[15:25], halves())
    assert np.all(square[:15] == 255)
    assert np.all(square[25:] == 255)


def test_pad_of_grey_on_a_colour_turns_to_colour() -> None:
    square = fit_square(halves(), 40, "pad", BLUE)
    assert square[0, 0].tolist() == list(BLUE)
    assert square[20, 39].tolist() == [200, 200, 200]


def test_crop_keeps_the_central_square_and_its_shape() -> None:
    image = np.zeros((10, 40), np.uint8)
    image[:, 15:25] = np.arange(100, 110)
    np.testing.assert_array_equal(fit_square(image, 10, "crop", WHITE), image[:, 15:25])


def test_stretch_keeps_everything_and_not_the_shape() -> None:
    square = fit_square(halves(), 20, "stretch", WHITE)
    assert square.shape == (20, 20)
    assert np.all(square[:, :8] == 0)
    assert np.all(square[:, 12:] == 200)


def test_shrinking_averages() -> None:
    checker = (np.indices((64, 64)).sum(0) % 2 * 200).astype(np.uint8)
    small = fit_square(checker, 8, "stretch", WHITE)
    assert np.abs(small.astype(int) - 100).max() <= 6


@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    side=st.integers(4, 30),
    fit=st.sampled_from(["pad", "crop", "stretch"]),
    colour=st.booleans(),
)
def test_every_picture_becomes_a_square_and_one_colour_stays_it(
    height: int, width: int, side: int, fit: Fit, colour: bool
) -> None:
    image = np.full((height, width, 3) if colour else (height, width), 77, np.uint8)
    square = fit_square(image, side, fit, (77, 77, 77))
    assert square.shape == ((side, side, 3) if colour else (side, side))
    assert np.all(square == 77)


def test_colour_is_dropped_only_where_all_pixels_are_grey() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    colour = grey[..., None].repeat(3, 2)
    np.testing.assert_array_equal(without_needless_colour(colour), grey)
    colour[3, 4, 2] += 1
    assert without_needless_colour(colour).shape == (8, 8, 3)


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_the_same_picture_gives_the_same_bytes(fit: Fit) -> None:
    image = np.random.default_rng(1).integers(0, 256, (31, 17, 3), dtype=np.uint8)
    assert fit_square(image, 12, fit, WHITE).tobytes() == fit_square(image, 12, fit, WHITE).tobytes()
