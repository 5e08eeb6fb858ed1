"""The whitened network: a first layer that decorrelates, and what learns of it."""

import numpy as np
import pytest
import torch

from stages.lib.counters import generator
from stages.lib.errors import InputError
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.network_names import WHITENED, least_side
from stages.lib.normalise import Normalisation, normalise
from stages.lib.whitened_net import MOST_IMAGES, WhitenedBody, evenly, fit_whitening

CPU = torch.device("cpu")


def network(channels: int = 3, side: int = 12, widths: tuple[int, ...] = (16, 32)) -> Classifier:
    shape = Architecture(channels, side, widths, 5, WHITENED)
    return new_classifier(shape, torch.zeros(5), generator(CPU, "whitened"))


def pictures(n: int, channels: int = 3) -> torch.Tensor:
    """Return smooth pictures (n, channels, 12, 12) uint8: neighbours are alike, as in photographs."""
    coarse = torch.rand((n, channels, 4, 4), generator=generator(CPU, "pictures"))
    fine = torch.nn.functional.interpolate(coarse, size=12, mode="bicubic", align_corners=False)
    noise = torch.rand(fine.shape, generator=generator(CPU, "noise"))
    return ((0.8 * fine + 0.2 * noise).clamp(0, 1) * 255).byte()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_layer_gives_uncorrelated_answers_of_both_signs(channels: int) -> None:
    images, facts = pictures(300, channels), Normalisation((0.5,) * channels, (0.2,) * channels)
    body = network(channels).body
    assert isinstance(body, WhitenedBody)
    fit_whitening(body, images, facts)
    kernels = body.whitening.weight
    assert kernels.shape == (8 * channels, channels, 2, 2)
    half = len(kernels) // 2
    torch.testing.assert_close(kernels[:half], -kernels[half:])
    ready = normalise(images.float() / 255, facts)
    answers = torch.nn.functional.conv2d(ready, kernels[:half]).transpose(0, 1).flatten(1).double()
    second_moments = answers @ answers.T / answers.shape[1]
    torch.testing.assert_close(second_moments, torch.eye(half).double(), atol=0.05, rtol=0)


@pytest.mark.parametrize("n", [0, 1, MOST_IMAGES, MOST_IMAGES + 1, 3 * MOST_IMAGES - 1])
def test_at_most_so_many_images_are_looked_at_evenly_spread(n: int) -> None:
    seen = np.arange(n)[evenly(n)]
    assert len(seen) <= MOST_IMAGES
    assert len(seen) >= min(n, MOST_IMAGES // 2)
    assert len(np.unique(np.diff(seen))) <= 1
    assert not n or n - seen[-1] <= (seen[1] if len(seen) > 1 else 1), "to the end"


def test_the_computed_layer_is_saved_but_never_learned() -> None:
    net = network()
    assert "body.whitening.weight" in net.state_dict()
    assert "body.whitening.weight" not in dict(net.named_parameters())


def test_a_new_network_predicts_what_is_known_before_looking() -> None:
    prior = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1]).log()
    shape = Architecture(3, 12, (16, 32), 5, WHITENED)
    net = new_classifier(shape, prior, generator(CPU, "prior")).eval()
    said = torch.softmax(net(torch.randn(64, 3, 12, 12, generator=generator(CPU, "x"))), 1).mean(0)
    np.testing.assert_allclose(said.detach(), prior.exp(), atol=0.05)


@pytest.mark.parametrize(("widths", "least"), [((8,), 3), ((8, 8), 5), ((8, 8, 8), 9)])
def test_the_smallest_image_is_the_one_of_which_a_pixel_is_left(widths: tuple[int, ...], least: int) -> None:
    assert least_side(WHITENED, widths) == least
    net = network(side=least, widths=widths).eval()
    assert net(torch.zeros(1, 3, least, least)).shape == (1, 5)
    with pytest.raises(InputError, match=f"images of {least} pixels at least"):
        Architecture(3, least - 1, widths, 5, WHITENED)


def test_a_direction_that_no_picture_has_is_not_blown_up() -> None:
    grey, facts = pictures(100, 1).expand(-1, 3, -1, -1), Normalisation((0.5,) * 3, (0.2,) * 3)
    body = network().body
    assert isinstance(body, WhitenedBody)
    fit_whitening(body, grey, facts)
    tinted = normalise(grey.float() / 255, facts)
    tinted[:, 0] += 1 / 255 / 0.2  # one level of red
    with torch.no_grad():
        changed = body.whitening(tinted) - body.whitening(normalise(grey.float() / 255, facts))
    assert 0.1 < float(changed.abs().max()) < 2  # unit deviations
