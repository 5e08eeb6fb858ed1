"""Sizes and dead channels of a network's maps: healthy ones pass, and the worst module is named."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.activations import Activations, activation_checks, activations, awake
from stages.lib.nets import Classifier
from stages.lib.normalise import fit_normalisation, normalise
from tests.bars_set import healthy
from tests.prepared_data import bars


def images() -> torch.Tensor:
    pixels, _ = bars(12)
    return normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, fit_normalisation(pixels))


def test_a_healthy_network_is_alive_and_of_the_size_of_one() -> None:
    found = activations(healthy(), images())
    assert "body.blocks.1.norm2" in found.names
    assert len(found.names) == len(found.size) == len(found.dead)
    assert all(check.passed for check in activation_checks("", found))


def test_sizes_and_dead_channels_are_those_of_the_maps_and_tokens() -> None:
    maps = torch.zeros(2, 2, 2, 2)
    maps[:, 0] = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    found = activations(nn.Sequential(nn.Identity(), nn.Flatten(2)), maps)
    assert found.names == ("0", "1")
    assert found.size[0] == pytest.approx(math.sqrt(25 / 8))
    assert found.dead[0] == 0.5
    tokens = torch.zeros(2, 3, 4)
    tokens[:, 0, 1] = 1
    assert activations(nn.Sequential(nn.Identity()), tokens).dead == (0.75,)


def judged(change: Callable[[Classifier], object]) -> dict[str, tuple[bool, str]]:
    network = healthy()
    with torch.no_grad():
        change(network)
    return {
        check.name: (check.passed, check.why)
        for check in activation_checks("x_", activations(network, images()))
    }


def test_dead_exploding_vanishing_and_broken_activations_are_named() -> None:
    norm = "body.blocks.0.norm2"
    dead = judged(lambda net: net.get_parameter(f"{norm}.weight").zero_())
    assert (dead["x_dead_channels"][0], norm in dead["x_dead_channels"][1]) == (False, True)
    large = judged(lambda net: net.get_parameter(f"{norm}.weight").mul_(1e5))
    assert (large["x_activation_size"][0], norm in large["x_activation_size"][1]) == (False, True)
    small = judged(lambda net: net.get_parameter("body.blocks.1.conv1.weight").mul_(1e-7))
    where = small["x_activation_size_least"]
    assert (where[0], "body.blocks.1.conv1" in where[1]) == (False, True)
    broken = judged(lambda net: net.get_parameter("body.stem.weight").fill_(math.nan))
    assert not broken["x_activation_size"][0]


def test_a_branch_that_starts_at_zero_is_judged_once_it_has_moved_and_one_that_stays_is_dead() -> None:
    before = Activations(("branch", "stuck", "alive"), (0.0, 0.0, 2.0), (1.0, 1.0, 0.25))
    after = Activations(before.names, (0.01, 0.0, 3.0), (0.0, 1.0, 0.5))
    found = awake(before, after)
    np.testing.assert_array_equal(found.size, (0.01, 0.0, 2.0))
    np.testing.assert_array_equal(found.dead, (0.0, 1.0, 0.25))
