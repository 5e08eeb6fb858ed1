import math

import pytest
import torch
from torch import nn

from stages.lib.counters import generator
from stages.lib.fine_tuning import Tuning, depths, learning_scales, set_trainable, train_mode
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.optimizers import UpdateRule, new_optimizer, set_rates


def network() -> Classifier:
    prior = torch.full((3,), -math.log(3))
    return new_classifier(Architecture(1, 8, (8, 16), 3), prior, generator(torch.device("cpu"), 1))


class Normed(nn.Module):
    """A body with batch norm, as third parties have it, and a head with one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(images).mean((2, 3)))
        return logits


def test_depth_grows_from_the_stem_to_the_head() -> None:
    depth = depths(network())
    assert depth["body.stem.weight"] == depth["body.stem_norm.bias"] == 0
    assert depth["body.blocks.0.conv1.weight"] == 1
    assert depth["body.blocks.1.around.weight"] == 2
    assert depth["head.weight"] == depth["head.bias"] == 3


def test_each_layer_learns_at_a_share_of_the_next_ones_rate() -> None:
    scales = learning_scales(network(), Tuning(layer_decay=0.5))
    assert scales["head.bias"] == 1.0
    assert scales["body.blocks.1.conv1.weight"] == 0.5
    assert scales["body.stem.weight"] == 0.125
    net = network()
    optimizer = new_optimizer(net, UpdateRule(), Tuning(layer_decay=0.5), 0.1, 0.0)
    set_rates(optimizer, 0.1, 0.2, 0.0)
    stem = next(
        g
        for g in optimizer.param_groups
        if any(p is net.get_parameter("body.stem.weight") for p in g["params"])
    )
    assert stem["lr"] == pytest.approx(0.1 * 0.2 * 0.125)


def test_layers_are_frozen_from_the_image_on() -> None:
    net = network()
    set_trainable(net, Tuning(frozen_layers=2), body_frozen=False)
    learning = {name.split(".conv")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert not any("stem" in name or "blocks.0" in name for name in learning)
    assert any("blocks.1" in name for name in learning)
    set_trainable(net, Tuning(), body_frozen=True)
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    set_trainable(net, Tuning(), body_frozen=False)
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize(
    ("tuning", "frozen", "moves"),
    [(Tuning(), False, True), (Tuning(), True, False), (Tuning(hold_statistics=True), False, False)],
)
def test_statistics_of_a_frozen_or_held_batch_norm_stay(tuning: Tuning, frozen: bool, moves: bool) -> None:
    net = Normed()
    set_trainable(net, tuning, body_frozen=frozen)
    train_mode(net, tuning)
    before = net.body[1].running_mean.clone()  # type: ignore[operator, union-attr]
    net(torch.randn(8, 1, 6, 6) + 3)
    assert net.head.training
    assert torch.equal(before, net.body[1].running_mean) != moves  # type: ignore[arg-type]
    assert net.head[0].running_mean.any()  # type: ignore[operator, union-attr]


def test_a_network_without_a_body_is_one_layer() -> None:
    assert set(depths(nn.Linear(2, 2)).values()) == {0}
