"""Properties of pictures: against plain loops, and what they promise of bars, light and blur."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from planting import photographs

from stages.lib.image_properties import BORDER_FROM, NAMES, measure_all, padded_box, sharpness
from stages.lib.square import fit_square


def measured(
    pixels: np.ndarray, width: int | None = None, height: int | None = None
) -> dict[str, np.ndarray]:
    sides = [np.full(len(pixels), side or pixels.shape[1]) for side in (width, height)]
    return dict(zip(NAMES, measure_all(pixels, *sides).T, strict=True))


def random_pictures(n: int, side: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


@settings(max_examples=20, deadline=None)
@given(side=st.integers(4, 40), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_any_size_gives_numbers_from_0_to_1_and_the_same_alone_and_among_others(
    side: int, channels: int, seed: int
) -> None:
    pixels = random_pictures(3, side, channels, seed)
    together = measure_all(pixels, *[np.full(3, side)] * 2)
    known = np.array([not (name.startswith("border") and side < BORDER_FROM) for name in NAMES])
    assert np.isfinite(together[:, known]).all()
    assert ((together[:, known] >= 0) & (together[:, known] <= 1)).all()
    np.testing.assert_array_equal(together[1:2], measure_all(pixels[1:2], *[np.full(1, side)] * 2))


def test_what_is_measured_is_what_a_plain_loop_measures() -> None:
    pixels = random_pictures(5, 20, 3)
    found = measured(pixels)
    for at, picture in enumerate(pixels):
        grey = np.asarray(Image.fromarray(picture).convert("L")).ravel() / 255
        assert found["brightness"][at] == pytest.approx(grey.mean(), abs=0.002)
        assert found["bright_level"][at] == pytest.approx(np.percentile(grey, 99), abs=0.02)
        assert found["dark_level"][at] == pytest.approx(np.percentile(grey, 5), abs=0.02)
        assert found["green"][at] == pytest.approx(picture[..., 1].mean() / 255, abs=1e-6)
        assert found["saturation"][at] == pytest.approx(np.ptp(picture, axis=2).mean() / 255, abs=1e-6)
        ring = np.ones((20, 20), bool)
        ring[1:-1, 1:-1] = False
        assert found["border_blue"][at] == pytest.approx(picture[ring][:, 2].mean() / 255, abs=1e-6)


@pytest.mark.parametrize(("width", "height"), [(30, 10), (10, 30), (301, 200), (97, 100), (1000, 60)])
@pytest.mark.parametrize("background", [(255, 255, 255), (12, 0, 200)])
def test_bars_beside_a_picture_are_not_measured(
    width: int, height: int, background: tuple[int, int, int]
) -> None:
    picture = np.random.default_rng(0).integers(90, 110, (height, width, 3), dtype=np.uint8)
    padded = fit_square(picture, 32, "pad", background)[None]
    found = measured(padded, width, height)
    assert found["brightness"] == pytest.approx(100 / 255, abs=0.02)
    assert found["contrast"] < 0.1
    top, bottom, left, right = padded_box(width, height, 32)
    content = padded[:, top:bottom, left:right]
    assert found["red"] == pytest.approx(content[..., 0].mean() / 255, abs=1e-6)


def test_a_picture_that_fills_its_square_is_measured_whole() -> None:
    stretched = random_pictures(4, 32, 1)
    np.testing.assert_array_equal(
        measure_all(stretched, *[np.full(4, 32)] * 2), measure_all(stretched, np.full(4, 90), np.full(4, 30))
    )


@pytest.mark.parametrize(("sigma", "expected"), [(0.75, 0.2), (1.0, 0.125), (2.0, 0.037)])
def test_a_softened_edge_has_the_sharpness_that_the_params_state(sigma: float, expected: float) -> None:
    """Reference: a Gaussian's own bell is the change of the edge, its mean over three pixels what stays."""
    at = np.arange(-12, 13)
    change = np.exp(-(at**2) / (2 * sigma**2))
    stays = np.convolve(change, np.ones(3) / 3, mode="same")
    reference = np.maximum(change - stays, 0).sum() / change.sum()
    assert reference == pytest.approx(expected, abs=0.01)
    edge = np.cumsum(change) / change.sum()
    picture = np.rint(np.tile(edge, (25, 1)) * 255).astype(np.uint8)
    both = np.maximum(picture, picture.T)[None]
    assert sharpness(both)[0] == pytest.approx(reference, abs=0.03)


def test_sharpness_falls_with_blur_and_not_with_contrast_or_light() -> None:
    scene = photographs(1, 64)[0, ..., 1]
    softer = [np.asarray(Image.fromarray(scene).filter(ImageFilter.GaussianBlur(s))) for s in (0.7, 1, 2)]
    values = sharpness(np.stack([scene, *softer]))
    assert (np.diff(values) < 0).all()
    flatter = (scene // 2 + 40).astype(np.uint8)
    assert sharpness(flatter[None])[0] == pytest.approx(values[0], abs=0.02)


def test_blur_along_one_axis_is_seen() -> None:
    scene = photographs(1, 64)[0, ..., 1].astype(np.float64)
    moved = np.mean([np.roll(scene, shift, axis=1) for shift in range(7)], axis=0)
    one, other = sharpness(np.stack([scene, moved]).astype(np.uint8))
    assert other < 0.5 * one


def test_a_narrow_strip_and_a_constant_picture_are_measured_too() -> None:
    strip = fit_square(np.full((2, 40, 3), 50, np.uint8), 8, "pad", (0, 0, 0))[None]
    assert measured(strip, 40, 2)["sharpness"] == pytest.approx(0)
    assert np.isnan(measured(np.zeros((1, 3, 3, 1), np.uint8))["sharpness"]).all()
