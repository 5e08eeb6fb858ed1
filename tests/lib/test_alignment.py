"""Pictures laid over each other: what residuals must not mind, and what must never look alike."""

import numpy as np
import pytest
from PIL import Image

from stages.lib.alignment import BACKGROUND, Limits, best_shifts, blur, residuals, sampling, unlikeness

PHOTOGRAPH = Limits.of(32, 0.125, 0.3)
SHIFTS = Limits.of(32, 0.125, 0)


def textured(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Grey pictures of blobs of a few pixels, (count, side, side) in 0...1."""
    noise = np.random.default_rng(seed).standard_normal((count, side, side)).astype(np.float32)
    smooth = blur(noise, 1.5)
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return np.asarray((smooth - low) / (high - low))


def resized(images: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    size, how = (images.shape[1],) * 2, Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(image).resize(size, how, box)) for image in images])


@pytest.mark.parametrize("limits", [PHOTOGRAPH, SHIFTS])
@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, -2), (-3, 4), (4, 4)])
def test_a_moved_copy_leaves_next_to_nothing(limits: Limits, down: int, right: int) -> None:
    wide = textured(40, 40)
    first, second = wide[:, 4:36, 4:36], wide[:, 4 + down : 36 + down, 4 + right : 36 + right]
    assert np.quantile(residuals(first, second, limits), 0.9) < 0.05


@pytest.mark.parametrize("box", [(1, 2, 29, 30), (2, 2, 30, 30), (4, 2, 30, 28), (0, 3, 32, 29)])
def test_a_crop_is_laid_over_its_original_where_zoom_is_allowed(box: tuple[int, int, int, int]) -> None:
    whole = textured(40, 32)
    crop = resized(whole, box)
    assert (residuals(whole, crop, PHOTOGRAPH) < 0.15).mean() >= 0.9
    assert (residuals(crop, whole, PHOTOGRAPH) < 0.15).mean() >= 0.9
    assert residuals(whole, crop, SHIFTS).min() > 0.2


def test_light_and_contrast_do_not_count() -> None:
    images = textured(6, 32, seed=1)
    ramp = np.linspace(0, 0.3, 32, dtype=np.float32)
    assert residuals(images, 0.4 * images + 0.1 + ramp, PHOTOGRAPH).max() < 0.05


@pytest.mark.parametrize("limits", [PHOTOGRAPH, SHIFTS])
def test_different_textures_are_not_alike(limits: Limits) -> None:
    first, second = textured(60, 32, seed=2), textured(60, 32, seed=3)
    assert residuals(first, second, limits).min() > 0.3


@pytest.mark.parametrize("limits", [PHOTOGRAPH, SHIFTS])
def test_smooth_skies_are_not_alike_however_well_their_gradients_fit(limits: Limits) -> None:
    generator = np.random.default_rng(4)
    sky = np.linspace(0.5, 0.9, 32, dtype=np.float32)[:, None] * np.ones(32, np.float32)
    grain = generator.integers(-2, 3, (2, 40, 32, 32)).astype(np.float32) / 255
    first, second = sky + grain
    plain = np.corrcoef(first[0].ravel(), second[0].ravel())[0, 1]
    assert plain > 0.99
    assert residuals(first, second, limits).min() > 0.5


def test_flat_pictures_are_alike_to_nothing() -> None:
    flat = np.full((3, 32, 32), 0.5, np.float32)
    assert residuals(flat, flat, PHOTOGRAPH).min() == pytest.approx(1)
    assert residuals(flat, textured(3, 32), PHOTOGRAPH).min() > 0.9


def test_a_common_frame_does_not_make_two_pictures_alike() -> None:
    first, second = (0.3 + 0.4 * textured(20, 32, seed=seed) for seed in (5, 6))
    for images in (first, second):
        images[:, :4], images[:, -4:], images[:, :, :4], images[:, :, -4:] = 1, 1, 1, 1
    assert residuals(first, second, PHOTOGRAPH).min() > 0.1


@pytest.mark.parametrize(("side", "zoom"), [(8, 0.0), (12, 0.0), (14, 0.3), (32, 0.3)])
def test_pictures_too_small_to_tell_a_zoom_are_only_shifted(side: int, zoom: float) -> None:
    assert Limits.of(side, 0.125, 0.3) == Limits(side // 8, zoom)


def test_the_best_shift_is_that_of_a_plain_loop() -> None:
    first, second = textured(8, 12, seed=7), textured(8, 12, seed=8)
    details = [images - blur(images, BACKGROUND) for images in (first, second)]
    place = best_shifts(first, second, 2)
    for a, b, found in zip(*details, place, strict=True):
        fits = {}
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                moved = np.zeros((12, 12))
                ys, xs = np.arange(12) + dy, np.arange(12) + dx
                kept = np.ix_((ys >= 0) & (ys < 12), (xs >= 0) & (xs < 12))
                moved[kept] = b[np.ix_(ys[(ys >= 0) & (ys < 12)], xs[(xs >= 0) & (xs < 12)])]
                fits[dy, dx] = (a * moved).sum()
        assert max(fits, key=fits.__getitem__) == (found[1], found[3])


def test_sampling_in_place_is_the_identity_and_knows_the_border() -> None:
    weights, inside = sampling(np.array([[0, 0], [0, 2]], np.float32), 6)
    np.testing.assert_allclose(weights[0], np.eye(6))
    np.testing.assert_array_equal(inside[1], [1, 1, 1, 1, 0, 0])


def test_unlikeness_of_one_block_is_one_less_the_correlation_of_what_lies_inside() -> None:
    first, second = textured(5, 9, seed=9), textured(5, 9, seed=10)
    inside = np.ones((5, 9, 9), np.float32)
    inside[:, :3] = 0
    plain = [np.corrcoef(a[3:].ravel(), b[3:].ravel())[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(unlikeness(first, second, inside), 1 - np.array(plain), atol=2e-3)


def test_each_block_with_detail_counts_however_strong_it_is() -> None:
    first, second = textured(20, 32, seed=11) - 0.5, textured(20, 32, seed=12) - 0.5
    second[:, :8] = first[:, :8] = 20 * first[:, :8]
    assert unlikeness(first, second, np.ones((20, 32, 32), np.float32)).min() > 0.5
