import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib import augment_geometry as geometry
from stages.lib.augment_geometry import Maps, Padding, affine_matrices, boxes, cropped, moved, resampled
from tests.lib.augment_fixture import draws, even, scenes

NONE = Maps(0.0, 0.0, 0.0, 0.0, 0.0, False)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.5), st.integers(0, 50))
def test_a_shift_stays_within_its_bound(shift: float, seed: int) -> None:
    matrices = affine_matrices(draws(7, 16, seed), replace(NONE, shift=shift), None)
    assert float(matrices[:, :, 2].abs().max()) <= 2 * shift + 1e-6
    assert torch.allclose(matrices[:, :, :2], torch.eye(2).expand(16, 2, 2))


def test_a_rotation_keeps_lengths_and_its_bound() -> None:
    maps = affine_matrices(draws(7, 2000), replace(NONE, rotation_degrees=30.0), None)[:, :, :2]
    assert torch.allclose(maps @ maps.transpose(1, 2), torch.eye(2).expand(2000, 2, 2), atol=1e-6)
    degrees = torch.rad2deg(torch.atan2(maps[:, 1, 0], maps[:, 0, 0]))
    assert 29 < float(degrees.abs().max()) <= 30.001
    assert abs(float(degrees.mean())) < 1.5  # 30 / sqrt(3) / sqrt(2000) is 0.4


def test_aspect_keeps_the_area_and_zoom_keeps_the_shape() -> None:
    aspect = affine_matrices(draws(7, 50), replace(NONE, aspect=0.3), None)
    assert torch.allclose(aspect[:, 0, 0] * aspect[:, 1, 1], torch.ones(50))
    assert 0.25 < float(aspect[:, 0, 0].log().abs().max()) <= 0.3
    zoom = affine_matrices(draws(7, 50), replace(NONE, zoom=0.3), None)
    assert torch.allclose(zoom[:, 0, 0], zoom[:, 1, 1])


def test_a_map_of_one_pixel_moves_one_pixel() -> None:
    images = scenes(4, 9)
    right = torch.tensor([[1.0, 0, -2 / 9], [0, 1, 0]]).expand(4, 2, 3)
    seen = resampled(images, right, "zeros")
    assert torch.allclose(seen[..., 1:], images[..., :-1], atol=1e-5)
    assert float(seen[..., 0].abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("padding", "mode"), [("zeros", "constant"), ("border", "edge"), ("reflection", "reflect")]
)
def test_a_whole_pixel_move_is_padding_and_cutting(padding: Padding, mode: str) -> None:
    images = scenes(5, 8)
    right, down = torch.tensor([3, -3, 0, 1, -2]), torch.tensor([0, 2, -3, 3, -1])
    found = moved(images, right, down, padding)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3)), mode=mode)  # type: ignore[call-overload]
    for image, (x, y) in enumerate(zip(right.tolist(), down.tolist(), strict=True)):
        wanted = padded[image, :, 3 - y : 11 - y, 3 - x : 11 - x]
        assert np.array_equal(found[image].numpy(), wanted)


def plain_random_resized_crop(rng: np.random.Generator, least: float) -> tuple[float, float]:
    """One draw the way torchvision's loop makes it; area and log aspect of the box."""
    while True:
        area, ratio = rng.uniform(least, 1), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        if math.sqrt(area * ratio) <= 1 and math.sqrt(area / ratio) <= 1:
            return area, math.log(ratio)


def largest_gap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic."""
    both = np.sort(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(values), both, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


@pytest.mark.parametrize("least", [0.08, 0.5])
def test_random_resized_crops_have_the_areas_and_aspects_of_the_plain_loop(least: float) -> None:
    n = 4000
    left, top, width, height = boxes(draws(22, n), (even(n, least), even(n, 1.0)), geometry.CROP_ASPECT)
    rng = np.random.default_rng(0)
    plain = np.array([plain_random_resized_crop(rng, least) for _ in range(n)])
    bound = 1.95 * math.sqrt(2 / n)  # exceeded once in a thousand
    assert largest_gap((width * height).numpy(), plain[:, 0]) < bound
    assert largest_gap((width / height).log().numpy(), plain[:, 1]) < bound
    for start, size in ((left, width), (top, height)):
        assert float(start.min()) >= 0
        assert float((start + size).max()) <= 1 + 1e-6
    places = (left / (1 - width))[width < 0.95]
    assert largest_gap(places.numpy(), rng.uniform(size=n)) < 1.95 * math.sqrt(1 / len(places) + 1 / n)


def test_a_crop_shows_its_box_and_nothing_else() -> None:
    identity = torch.eye(2, 3).repeat(300, 1, 1)
    maps = cropped(identity, draws(22, 300), 0.3, None)
    corners = maps @ torch.tensor([[-1.0, 1], [-1, 1], [1, 1]])
    assert float(corners.abs().max()) <= 1 + 1e-5
    areas = (corners[:, 0, 1] - corners[:, 0, 0]) * (corners[:, 1, 1] - corners[:, 1, 0]) / 4
    assert float(areas.min()) >= 0.3 - 1e-5
    untouched = cropped(identity, draws(22, 300), 0.3, torch.zeros(300))
    assert torch.allclose(untouched, identity, atol=1e-6)
