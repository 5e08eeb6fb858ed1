import colorsys

import pytest
import torch
from PIL import ImageEnhance, ImageOps

from stages.lib import augment_colour as colour
from tests.lib.augment_fixture import even, from_pillow, scenes, to_pillow

LEVEL = 1 / 255


def close(found: torch.Tensor, wanted: torch.Tensor, levels: float) -> bool:
    return float((found - wanted).abs().max()) <= levels * LEVEL + 1e-6


@pytest.mark.parametrize("factor", [0.3, 0.8, 1.0, 1.6])
@pytest.mark.parametrize(
    ("position", "enhance"),
    [(0, ImageEnhance.Brightness), (1, ImageEnhance.Contrast), (2, ImageEnhance.Color)],
)
def test_brightness_contrast_and_saturation_are_pillows(
    position: int, enhance: type[ImageEnhance.Color], factor: float
) -> None:
    images = scenes()
    factors = [even(6, factor if place == position else 1.0) for place in range(3)]
    found = colour.coloured(images, *factors, even(6, 0.0))
    for image, changed in zip(images, found, strict=True):
        wanted = from_pillow(enhance(to_pillow(image)).enhance(factor))
        assert close(changed, wanted, 2)  # Pillow rounds the grey in between


def test_each_picture_has_its_own_strength() -> None:
    images = scenes()
    factors = torch.linspace(0.5, 1.5, 6)
    one = even(6, 1.0)
    found = colour.coloured(images, factors, one, one, even(6, 0.0))
    assert torch.allclose(found, (images * factors[:, None, None, None]).clamp(0, 1), atol=1e-6)


def test_hue_turns_the_two_axes_of_colour_and_leaves_luma() -> None:
    """The reference is the standard library's YIQ, turned point by point."""
    images = 0.4 + 0.2 * scenes()  # far from 0 and 1, where colours are cut
    turns = torch.linspace(-0.4, 0.5, 6)
    one = even(6, 1.0)
    found = colour.coloured(images, one, one, one, turns)
    assert torch.allclose(colour.grey(found), colour.grey(images), atol=1e-4)
    for image, changed, turn in zip(images, found, turns.tolist(), strict=True):
        turned = complex(torch.polar(torch.tensor(1.0), torch.tensor(turn * 2 * torch.pi)).item())
        for pixel, result in zip(image[:, 4, ::6].T.tolist(), changed[:, 4, ::6].T.tolist(), strict=True):
            luma, i, q = colorsys.rgb_to_yiq(*pixel)
            point = complex(i, q) * turned
            wanted = colorsys.yiq_to_rgb(luma, point.real, point.imag)
            assert max(abs(a - b) for a, b in zip(result, wanted, strict=True)) < 0.01


def test_a_third_of_a_turn_makes_red_greenish_or_bluish_and_a_whole_one_leaves_it() -> None:
    red = torch.tensor([0.6, 0.4, 0.4])[None, :, None, None].expand(4, 3, 4, 4)
    one = even(4, 1.0)
    found = colour.coloured(red, one, one, one, torch.tensor([0.0, 1 / 3, -1 / 3, 1.0]))[:, :, 0, 0]
    hues = [colorsys.rgb_to_hsv(*pixel)[0] * 360 for pixel in found.tolist()]
    assert {round(hues[1] / 120), round(hues[2] / 120)} == {1, 2}
    assert torch.allclose(found[0], red[0, :, 0, 0], atol=1e-6)
    assert torch.allclose(found[3], red[0, :, 0, 0], atol=1e-5)


def test_grey_pictures_change_brightness_and_contrast_alone() -> None:
    images = scenes(channels=1)
    found = colour.coloured(images, even(6, 0.8), even(6, 1.3), even(6, 0.0), even(6, 0.3))
    mean = 0.8 * images.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(found, (mean + 1.3 * (0.8 * images - mean)).clamp(0, 1), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_tones_are_pillows(channels: int) -> None:
    images = scenes(channels=channels)
    for image, posterised, solarised, stretched, equalised in zip(
        images,
        colour.posterised(images, even(6, 3)),
        colour.solarised(images, even(6, 128 / 255)),
        colour.autocontrasted(images),
        colour.equalised(images),
        strict=True,
    ):
        picture = to_pillow(image)
        assert close(posterised, from_pillow(ImageOps.posterize(picture, 3)), 0)
        assert close(solarised, from_pillow(ImageOps.solarize(picture, 128)), 0)
        assert close(stretched, from_pillow(ImageOps.autocontrast(picture)), 1)
        assert close(equalised, from_pillow(ImageOps.equalize(picture)), 0)


@pytest.mark.parametrize("factor", [0.1, 1.9])
def test_sharpness_is_pillows(factor: float) -> None:
    images = scenes()
    for image, found in zip(images, colour.sharpened(images, even(6, factor)), strict=True):
        assert close(found, from_pillow(ImageEnhance.Sharpness(to_pillow(image)).enhance(factor)), 2)


def test_a_flat_picture_survives_everything() -> None:
    flat = torch.full((2, 3, 8, 8), 0.5)
    for changed in (colour.autocontrasted(flat), colour.equalised(flat)):
        assert torch.allclose(changed, flat, atol=LEVEL)
