"""The same picture is the same pixels, and nothing less."""

import numpy as np

from stages.lib.picture_identity import same_picture


def test_equal_pixels_share_a_number_given_in_order_of_appearance() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(same_picture(images[[2, 0, 2, 1, 0, 3]]), [0, 1, 0, 2, 1, 3])


def test_one_level_in_one_pixel_makes_another_picture() -> None:
    images = np.zeros((2, 8, 8, 1), np.uint8)
    images[1, 7, 7, 0] = 1
    np.testing.assert_array_equal(same_picture(images), [0, 1])
