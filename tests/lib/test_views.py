import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from stages.lib.normalise import Normalisation
from stages.lib.view_params import ViewParams, views_of
from stages.lib.views import PLAIN, View, class_probs, crops, see

AS_IS = Normalisation((0.0,), (1.0,))
moves = st.integers(-3, 3)


def pictures(n: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 1, 5, 6), dtype=np.uint8)


@settings(max_examples=50, deadline=None)
@given(moves, moves, st.booleans())
def test_a_view_is_what_numpy_would_show(x: int, y: int, flip: bool) -> None:
    batch = pictures().astype(np.float32)
    padded = np.pad(batch, ((0, 0), (0, 0), (3, 3), (3, 3)), mode="edge")
    expected = padded[:, :, 3 - y : 8 - y, 3 - x : 9 - x]
    expected = expected[..., ::-1] if flip else expected
    np.testing.assert_array_equal(see(torch.from_numpy(batch), View(x, y, flip, 1.0, 1.0)).numpy(), expected)


def net() -> nn.Module:
    layer = nn.Linear(30, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.sin(torch.arange(120.0)).view(4, 30))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)


def test_probabilities_are_the_weighted_mean_over_views() -> None:
    images = torch.from_numpy(pictures())
    views = (View(0, 0, False, 3.0, 1.0), View(1, 0, True, 1.0, 1.0))
    parts = [torch.softmax(net()(see(images.float() / 255, view)), 1) for view in views]
    expected = 0.75 * parts[0] + 0.25 * parts[1]
    found = class_probs(net(), images, AS_IS, views)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(3), atol=1e-6)


def test_the_plain_view_is_plain_prediction() -> None:
    images = torch.from_numpy(pictures())
    assert torch.allclose(
        class_probs(net(), images, AS_IS, PLAIN), torch.softmax(net()(images.float() / 255), 1)
    )


def test_a_zoomed_view_shows_the_middle_and_a_move_shows_a_corner() -> None:
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    middle = see(ramp, View(0, 0, False, 1.0, 0.5))[0, 0, 0]
    # Half of eight pixels, from 2 to 6 between pixel edges: centres 1.75, 2.25, ... 5.25.
    assert torch.allclose(middle, torch.linspace(1.75, 5.25, 8), atol=1e-5)
    left = see(ramp, View(2, 0, False, 1.0, 0.5))[0, 0, 0]
    assert torch.allclose(left, (middle - 2).clamp(min=0), atol=1e-5)
    assert torch.equal(see(ramp, View(0, 0, True, 1.0, 1.0)), ramp.flip(3))


def test_five_crops_are_the_corners_and_the_middle_and_ten_are_mirrored_too() -> None:
    # Half of six pixels a side: the shown parts are whole pixels, so that each can be cut out by hand.
    whole = torch.randn((2, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    bounds = {-1: slice(0, 3), 1: slice(3, 6)}
    views = crops(View(0, 0, False, 2.0, 0.5), 10)
    assert sum(view.weight for view in views) == pytest.approx(2.0)
    for view in views[1:5]:
        part = whole[:, :, bounds[view.corner[1]], bounds[view.corner[0]]]
        # Read back at the centres of the cut-out's pixels: enlarged twice, a mean of four neighbours.
        seen = torch.nn.functional.avg_pool2d(see(whole, view), 2)
        expected = torch.nn.functional.avg_pool2d(
            torch.nn.functional.interpolate(part, scale_factor=2.0, mode="bilinear"), 2
        )
        inner = slice(1, 2)
        assert torch.allclose(seen[:, :, inner, inner], expected[:, :, inner, inner], atol=1e-5)
    assert len({view.corner for view in views[:5]}) == 5
    for plain, mirrored in zip(views[:5], views[5:], strict=True):
        assert torch.equal(see(whole, mirrored), see(whole, plain).flip(3))


def test_a_zoom_above_one_makes_the_picture_smaller_and_repeats_its_edges() -> None:
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    small = see(ramp, View(0, 0, False, 1.0, 2.0))[0, 0, 0]
    assert small[:2].tolist() == [0.0, 0.0]
    assert small[-2:].tolist() == [7.0, 7.0]
    assert torch.allclose(small[2:6], torch.tensor([0.5, 2.5, 4.5, 6.5]), atol=1e-5)


def test_listed_views_are_laid_out_and_crops_of_the_whole_picture_are_refused() -> None:
    plain = ViewParams(x=0, y=0, flip=False, weight=1.0, zoom=1.0, crops=1)
    ten = ViewParams(x=0, y=0, flip=False, weight=1.0, zoom=0.875, crops=10)
    found = views_of([plain, ten])
    assert len(found) == 11
    assert [view.is_plain for view in found] == [True] + [False] * 10
    assert sum(view.weight for view in found) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="set zoom below 1"):
        ViewParams(x=0, y=0, flip=False, weight=1.0, zoom=1.0, crops=5)


def test_images_may_lie_elsewhere_than_the_network() -> None:
    elsewhere = class_probs(net().to("meta"), torch.from_numpy(pictures()), AS_IS, PLAIN)
    assert (elsewhere.device.type, elsewhere.shape) == ("meta", (3, 4))
