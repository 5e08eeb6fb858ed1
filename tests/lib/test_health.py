"""Every check passes on a healthy network and catches the bug it is there for."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stages.lib import health
from stages.lib.augment import Augmentation
from stages.lib.checks import Check
from stages.lib.counters import generator
from stages.lib.loop import TrainingSet
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import fit_normalisation, normalise
from stages.lib.optimizers import UpdateRule
from stages.lib.tasks import Classification
from tests.prepared_data import bars

CPU = torch.device("cpu")
UNEVEN = torch.log(torch.tensor([0.98, 0.01, 0.01]))
EVEN = torch.full((3,), -math.log(3))


def classifier(log_prior: torch.Tensor = EVEN) -> Classifier:
    return new_classifier(Architecture(1, 8, (8, 16), 3), log_prior, generator(CPU, "health"))


def batch(n: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    pixels, labels = bars(n)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    return normalise(images, fit_normalisation(pixels)), torch.from_numpy(labels)


class Changed(nn.Module):
    """A network with something done to its images or its logits."""

    def __init__(
        self, inner: nn.Module, before: Callable[..., object] = lambda x: x, after=lambda x: x
    ) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.after(self.inner(self.before(images)))
        return result


def task_for(labels: torch.Tensor) -> Classification:
    return Classification(labels, torch.ones(3), 0.0, None)


# Data


def test_labels_in_range_one_an_image_pass() -> None:
    assert health.labels_fit(np.array([0, 1, 2, 1]), 4, 3).passed


@pytest.mark.parametrize(
    ("labels", "faults"), [([0, 1, 3, 2], 1), ([0, 1, -1, 2], 1), ([0, 1, 1, 0], 1), ([0, 1, 2], 1)]
)
def test_labels_out_of_range_missing_or_of_no_class_are_counted(labels: list[int], faults: int) -> None:
    found = health.labels_fit(np.array(labels), 4, 3)
    assert not found.passed
    assert found.value == faults


def test_flat_pictures_are_found() -> None:
    pixels, _ = bars(20)
    assert health.pixels_vary(pixels).passed
    pixels[:5] = 128
    assert not health.pixels_vary(pixels).passed
    assert health.pixels_vary(pixels).value == 0.25


def test_normalisation_of_train_passes_and_of_other_images_or_twice_fails() -> None:
    pixels, _ = bars(60)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    facts = fit_normalisation(pixels)
    once = normalise(images, facts)
    assert health.normalised_train(once).passed
    assert not health.normalised_train(normalise(images, fit_normalisation(bars(60, seed=9)[0]))).passed
    assert not health.normalised_train(normalise(once, facts)).passed
    assert not health.normalised_train(images).passed


def test_a_constant_channel_is_no_fault_of_normalisation() -> None:
    pixels = np.repeat(bars(30)[0], 3, axis=3)
    pixels[..., 2] = 7
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    assert health.normalised_train(normalise(images, fit_normalisation(pixels))).passed


def test_an_augmentation_that_changes_images_at_no_strength_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how, images = Augmentation(9.0, 0.1, 0.1, 0.1, True, "zeros"), batch()[0].sigmoid()
    assert health.identity_augmentation(images, how).passed
    monkeypatch.setattr(health, "augment", lambda images, *_: images.transpose(2, 3))
    assert not health.identity_augmentation(images, how).passed


# The network before its first step


def test_a_bias_at_the_log_prior_passes_and_one_left_at_zero_fails() -> None:
    assert health.output_bias(classifier(UNEVEN).head.bias, UNEVEN).passed
    assert not health.output_bias(torch.zeros(3), UNEVEN).passed


def loss_at_start(network: nn.Module, labels: torch.Tensor, images: torch.Tensor) -> float:
    return float(functional.cross_entropy(network(images), labels).detach())


def test_the_first_loss_is_the_entropy_of_the_prior() -> None:
    images, labels = batch(99)
    first = loss_at_start(classifier(), labels, images)
    assert health.initial_loss(first, labels, EVEN, torch.ones(3)).passed
    assert first == pytest.approx(math.log(3), rel=0.05)


def test_a_zero_bias_under_an_uneven_prior_and_a_summed_loss_are_caught() -> None:
    images, _ = batch(100)
    labels = torch.zeros(100, dtype=torch.int64)
    labels[0], labels[1] = 1, 2
    weights = torch.ones(3)
    assert health.initial_loss(
        loss_at_start(classifier(UNEVEN), labels, images), labels, UNEVEN, weights
    ).passed
    zero_bias = loss_at_start(classifier(torch.zeros(3)), labels, images)
    assert not health.initial_loss(zero_bias, labels, UNEVEN, weights).passed
    summed = float(functional.cross_entropy(classifier(UNEVEN)(images), labels, reduction="sum").detach())
    assert not health.initial_loss(summed, labels, UNEVEN, weights).passed


def test_a_healthy_network_keeps_samples_apart() -> None:
    assert health.batch_independence(classifier(), batch()[0]).passed


def swap_axes_by_view(images: torch.Tensor) -> torch.Tensor:
    """`view` where `permute` was meant: rows of one picture end up in another."""
    n, channels, height, width = images.shape
    return images.permute(1, 2, 3, 0).reshape(n, channels, height, width)


@pytest.mark.parametrize(
    "mix",
    [swap_axes_by_view, lambda x: x - x.mean(0, keepdim=True), lambda x: x.roll(1, 0), torch.zeros_like],
    ids=["view for permute", "norm over the batch", "shifted batch", "blind to its input"],
)
def test_a_leak_across_the_batch_is_caught(mix: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert not health.batch_independence(Changed(classifier(), before=mix), batch()[0]).passed


def test_batch_norm_is_judged_as_it_predicts() -> None:
    with_norm = nn.Sequential(nn.BatchNorm2d(1), classifier())
    assert health.batch_independence(with_norm.train(), batch()[0]).passed


def test_dropout_left_on_is_caught() -> None:
    images, _ = batch()
    assert health.repeatable_inference(nn.Sequential(nn.Dropout(0.5), classifier()), images).passed
    always_on = Changed(classifier(), before=lambda x: functional.dropout(x, 0.5, training=True))
    assert not health.repeatable_inference(always_on, images).passed


def test_a_frozen_head_and_a_part_cut_off_are_caught() -> None:
    images, labels = batch()
    index = torch.arange(12)
    assert health.dead_parameters(classifier(), task_for(labels), images, index).passed
    frozen = classifier()
    frozen.head.requires_grad_(False)
    found = health.dead_parameters(frozen, task_for(labels), images, index)
    assert (found.passed, found.value) == (False, 2)
    zeroed = classifier()
    with torch.no_grad():
        zeroed.body.blocks[1].get_parameter("norm2.weight").zero_()
    assert not health.dead_parameters(zeroed, task_for(labels), images, index).passed


# Learning


def one_batch() -> tuple[TrainingSet, torch.Tensor]:
    pixels, labels = bars(12)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return TrainingSet(images, tuple("abcdefghijkl"), fit_normalisation(pixels)), torch.from_numpy(labels)


def overfit(network: nn.Module, labels: torch.Tensor, data: TrainingSet, truth: torch.Tensor) -> Check:
    memory = health.Memory(network, task_for(labels), data, 0.01, UpdateRule())
    return memory.go_on(60).check(truth)


def test_a_healthy_network_knows_one_batch_by_heart_and_is_left_untouched() -> None:
    data, labels = one_batch()
    network = classifier()
    before = copy.deepcopy(network.state_dict())
    assert overfit(network, labels, data, labels).passed
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_shifted_labels_softmax_before_the_loss_and_black_images_fail_to_overfit() -> None:
    data, labels = one_batch()
    assert not overfit(classifier(), labels.roll(1), data, labels).passed
    twice = Changed(classifier(), after=lambda logits: torch.softmax(logits, 1))
    assert not overfit(twice, labels, data, labels).passed
    black = replace(data, images=torch.zeros_like(data.images))
    assert not overfit(classifier(), labels, black, labels).passed


def test_memory_goes_on_where_it_stopped() -> None:
    data, labels = one_batch()
    memory = health.Memory(classifier(), task_for(labels), data, learning_rate=0.01, rule=UpdateRule())
    after = [memory.go_on(5).check(labels).value, memory.go_on(60).check(labels).value]
    assert after[1] < 0.05 < after[0]


def test_a_loss_that_stays_is_caught() -> None:
    assert health.loss_falls([1.1, 0.9, 0.5]).passed
    assert not health.loss_falls([1.1, 1.1, 1.09]).passed
