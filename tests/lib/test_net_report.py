import torch
from torch import nn

from stages.lib.net_report import advice, describe, flops_by_layer


def test_flops_are_two_per_multiply_add_of_convolutions_and_linear_layers() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=16),
        nn.Flatten(),
        nn.Linear(576, 10),
    ).train()
    flops = flops_by_layer(net, torch.zeros(1, 3, 8, 8))
    assert flops == {"0": 2 * 27 * 16 * 64, "2": 2 * 9 * 16 * 36, "4": 2 * 576 * 10}
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


def test_sizes_that_a_gpu_pads_are_named_with_better_ones_and_good_ones_are_not() -> None:
    wasteful = nn.Sequential(nn.Conv2d(8, 12, 1), nn.Conv2d(12, 96, 1), nn.Conv2d(96, 7, 1))
    lines = advice(wasteful, flops_by_layer(wasteful, torch.zeros(1, 8, 4, 4)))
    assert any("12 channels" in line and "16" in line for line in lines)
    assert any("96 channels" in line and "128" in line for line in lines)
    assert not any(line.startswith("7 ") for line in lines)  # the last layer has as many as there are classes
    good = nn.Sequential(nn.Conv2d(8, 64, 1), nn.Conv2d(64, 128, 1), nn.Conv2d(128, 7, 1))
    assert advice(good, flops_by_layer(good, torch.zeros(1, 8, 4, 4))) == []


def test_three_input_channels_are_named_only_where_they_cost_something() -> None:
    shallow = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 8, 1))
    deep = nn.Sequential(nn.Conv2d(3, 64, 1), *[nn.Conv2d(64, 64, 3, padding=1) for _ in range(3)])
    for net, named in ((shallow, True), (deep, False)):
        lines = advice(net, flops_by_layer(net, torch.zeros(1, 3, 8, 8)))
        assert any("3 input channels" in line for line in lines) == named


def test_a_description_counts_parameters_and_names_widths() -> None:
    told = describe(nn.Sequential(nn.Conv2d(1, 8, 3, bias=False)), 1, 5)
    assert told == {"n_parameters": 72, "flops_per_image": 2 * 72 * 9, "channels": {"0": 8}, "advice": []} | {
        "advice": told["advice"]
    }
