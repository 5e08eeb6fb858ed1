from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from stages.lib.artifacts import read_csv
from stages.lib.inside_network import ACTIVATIONS, FILTERS, first_filters, look_inside


def test_filters_are_drawn_with_zero_as_grey_and_the_largest_weight_as_black_or_white() -> None:
    network = nn.Sequential(nn.Conv2d(3, 70, 3), nn.Conv2d(70, 4, 3))
    with torch.no_grad():
        network[0].weight.zero_()
        network[0].weight[0, 0, 0, 1], network[0].weight[0, 2, 2, 2] = 2.0, -1.0
    tiles = first_filters(network)
    assert tiles.shape == (64, 3, 3, 3)
    assert (tiles[0, 0, 1, 0], tiles[0, 2, 2, 2]) == (255, 64)
    assert np.all(tiles[1:] == 128)


def test_filters_over_other_channels_are_averaged_and_a_network_without_any_is_one_grey_tile() -> None:
    assert first_filters(nn.Sequential(nn.Conv2d(5, 2, 3))).shape == (2, 3, 3, 1)
    assert first_filters(nn.Linear(2, 2)).tolist() == [[[[128]]]]


def test_a_look_writes_the_filters_and_the_sizes_of_maps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    inside = look_inside(network, torch.randn(6, 1, 8, 8))
    inside.write(tmp_path)
    rows = read_csv(tmp_path / ACTIVATIONS)
    assert [row["module"] for row in rows] == ["0", "1"]
    assert all(float(row["size"]) > 0 for row in rows)
    with Image.open(tmp_path / FILTERS) as picture:
        assert picture.size[0] > 0
    assert all(check.passed for check in inside.checks())
    with torch.no_grad():
        network[0].bias.fill_(-1e5)
    assert not all(check.passed for check in look_inside(network, torch.randn(6, 1, 8, 8)).checks())
