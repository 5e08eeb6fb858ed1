"""What takes some training: one batch by heart, a loss that falls, capacity that pays."""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from stages.lib.checks import Check
from stages.lib.learning_checks import Memory, capacity_pays, input_pays, loss_falls
from stages.lib.loop import TrainingSet
from stages.lib.normalise import fit_normalisation
from stages.lib.optimizers import UpdateRule
from stages.lib.tasks import Classification
from tests.bars_set import healthy
from tests.prepared_data import bars


def task_for(labels: torch.Tensor) -> Classification:
    return Classification(labels, torch.ones(3), 0.0, None)


class Changed(nn.Module):
    """A network with something done to its logits."""

    def __init__(self, inner: nn.Module, after: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self.after = inner, after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.after(self.inner(images))


def one_batch() -> tuple[TrainingSet, torch.Tensor]:
    pixels, labels = bars(12)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return TrainingSet(images, tuple("abcdefghijkl"), fit_normalisation(pixels)), torch.from_numpy(labels)


def overfit(network: nn.Module, labels: torch.Tensor, data: TrainingSet, truth: torch.Tensor) -> Check:
    return Memory(network, task_for(labels), data, 0.01, UpdateRule()).go_on(60).check(truth)


def test_a_healthy_network_knows_one_batch_by_heart_and_is_left_untouched() -> None:
    data, labels = one_batch()
    network = healthy()
    before = copy.deepcopy(network.state_dict())
    assert overfit(network, labels, data, labels).passed
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_shifted_labels_softmax_before_the_loss_and_black_images_fail_to_overfit() -> None:
    data, labels = one_batch()
    assert not overfit(healthy(), labels.roll(1), data, labels).passed
    twice = Changed(healthy(), lambda logits: torch.softmax(logits, 1))
    assert not overfit(twice, labels, data, labels).passed
    black = replace(data, images=torch.zeros_like(data.images))
    assert not overfit(healthy(), labels, black, labels).passed


def test_memory_goes_on_where_it_stopped() -> None:
    data, labels = one_batch()
    memory = Memory(healthy(), task_for(labels), data, 0.01, UpdateRule())
    after = [memory.go_on(5).check(labels).value, memory.go_on(60).check(labels).value]
    assert after[1] < 0.05 < after[0]


def test_a_loss_that_stays_is_caught() -> None:
    assert loss_falls([1.1, 0.9, 0.5]).passed
    assert not loss_falls([1.1, 1.1, 1.09]).passed


def test_a_loss_that_is_not_the_one_meant_is_caught_though_the_true_one_is_small() -> None:
    class Softened(Classification):
        def loss(self, network, images, *rest) -> torch.Tensor:  # type: ignore[no-untyped-def]
            return super().loss(Changed(network, lambda logits: torch.softmax(logits, 1)), images, *rest)

    data, labels = one_batch()
    memory = Memory(healthy(), Softened(labels, torch.ones(3), 0.0, None), data, 0.01, UpdateRule())
    assert not memory.go_on(200).check(labels).passed


def test_a_large_network_that_learns_worse_than_the_smallest_is_caught() -> None:
    assert capacity_pays(0.3, 0.9, 10).passed
    assert capacity_pays(0.05, 0.01, 10).passed
    assert not capacity_pays(2.3, 0.9, 10).passed


def test_pictures_must_beat_no_pictures() -> None:
    assert input_pays("beats_zeros", 0.3, 1.1).passed
    assert not input_pays("beats_zeros", 1.09, 1.1).passed
