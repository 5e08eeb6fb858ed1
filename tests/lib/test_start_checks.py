"""Every check of a new network passes on a healthy one and catches the bug it is there for."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from stages.lib import loop, start_checks
from stages.lib.checks import Check
from stages.lib.counters import generator
from stages.lib.fine_tuning import Tuning
from stages.lib.loop import TrainingSet
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import fit_normalisation, normalise
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Classification
from tests.prepared_data import bars

CPU = torch.device("cpu")
UNEVEN = torch.log(torch.tensor([0.98, 0.01, 0.01]))
EVEN = torch.full((3,), -math.log(3))


def classifier(log_prior: torch.Tensor = EVEN) -> Classifier:
    return new_classifier(Architecture(1, 8, (8, 16), 3), log_prior, generator(CPU, "healthy"))


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


def test_a_bias_at_the_log_prior_passes_and_one_left_at_zero_fails() -> None:
    assert start_checks.output_bias(classifier(UNEVEN).head.bias, UNEVEN).passed
    assert not start_checks.output_bias(torch.zeros(3), UNEVEN).passed


def loss_at_start(network: nn.Module, labels: torch.Tensor, images: torch.Tensor) -> float:
    return float(functional.cross_entropy(network(images), labels).detach())


def test_the_first_loss_is_the_entropy_of_the_prior() -> None:
    images, labels = batch(99)
    first = loss_at_start(classifier(), labels, images)
    assert start_checks.initial_loss(first, labels, EVEN, torch.ones(3)).passed
    assert first == pytest.approx(math.log(3), rel=0.05)


def test_a_zero_bias_under_an_uneven_prior_and_a_summed_loss_are_caught() -> None:
    images, _ = batch(100)
    labels = torch.zeros(100, dtype=torch.int64)
    labels[0], labels[1] = 1, 2
    weights = torch.ones(3)
    assert start_checks.initial_loss(
        loss_at_start(classifier(UNEVEN), labels, images), labels, UNEVEN, weights
    ).passed
    zero_bias = loss_at_start(classifier(torch.zeros(3)), labels, images)
    assert not start_checks.initial_loss(zero_bias, labels, UNEVEN, weights).passed
    summed = float(functional.cross_entropy(classifier(UNEVEN)(images), labels, reduction="sum").detach())
    assert not start_checks.initial_loss(summed, labels, UNEVEN, weights).passed


def test_a_healthy_network_keeps_samples_apart() -> None:
    assert start_checks.batch_independence(classifier(), batch()[0]).passed


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
    assert not start_checks.batch_independence(Changed(classifier(), before=mix), batch()[0]).passed


def test_batch_norm_is_judged_as_it_predicts() -> None:
    with_norm = nn.Sequential(nn.BatchNorm2d(1), classifier())
    before = {name: value.clone() for name, value in with_norm.state_dict().items()}
    assert start_checks.batch_independence(with_norm.train(), batch()[0]).passed
    assert all(torch.equal(value, before[name]) for name, value in with_norm.state_dict().items())


def test_a_leak_across_the_batch_in_training_alone_is_caught() -> None:
    class InTraining(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images - images.mean(0) if self.training else images

    leaking = nn.Sequential(InTraining(), classifier())
    assert not start_checks.batch_independence(leaking, batch()[0]).passed


def test_batch_norms_know_the_images_before_they_are_judged_and_the_network_is_left_as_it_is() -> None:
    images = 100 + 50 * batch()[0]
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())
    ready = start_checks.settled(network, images)(images).detach()
    assert float(ready.mean()) == pytest.approx(0, abs=1e-3)
    assert float(ready.std()) == pytest.approx(1, abs=1e-2)
    assert float(network[0].running_mean) == 0
    plain = classifier()
    assert start_checks.settled(plain, images) is plain


def test_dropout_left_on_is_caught() -> None:
    images, _ = batch()
    assert start_checks.repeatable_inference(nn.Sequential(nn.Dropout(0.5), classifier()), images).passed
    always_on = Changed(classifier(), before=lambda x: functional.dropout(x, 0.5, training=True))
    assert not start_checks.repeatable_inference(always_on, images).passed


def test_a_frozen_head_and_a_part_cut_off_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = batch()
    index = torch.arange(12)

    def dead(*probes: nn.Module, frozen: int = 0) -> Check:
        tuning = Tuning(frozen_layers=frozen)
        return start_checks.dead_parameters(probes, task_for(labels), images, index, tuning)

    assert dead(classifier()).passed
    assert dead(classifier(), frozen=2).passed
    zeroed = classifier()
    with torch.no_grad():
        zeroed.body.blocks[1].get_parameter("norm2.weight").zero_()
    assert not dead(zeroed).passed
    assert dead(zeroed, classifier()).passed
    monkeypatch.setattr(
        start_checks, "set_trainable", lambda network, *_, **__: network.head.requires_grad_(False)
    )
    found = dead(classifier())
    assert (found.passed, found.value) == (False, 2)


RECIPE = Recipe((Phase("unused", 1, 1.0),), 12, 0.01, 0.0, 0.2, 0.0, None, seed=0)


def first_step(network: nn.Module, recipe: Recipe = RECIPE) -> dict[str, Check]:
    pixels, labels = bars(12)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    data = TrainingSet(images, tuple("abcdefghijkl"), fit_normalisation(pixels))
    steps = start_checks.FirstSteps(network, task_for(torch.from_numpy(labels)), data, recipe).go_on(1)
    return {check.name: check for check in [*steps.sizes(), steps.unmoved()]}


def test_the_first_step_moves_everything_a_little_and_leaves_the_network_as_it_is() -> None:
    network = classifier()
    before = [value.detach().clone() for value in network.parameters()]
    found = first_step(network)
    assert all(check.passed for check in found.values()), found
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))


def test_steps_too_large_too_small_and_beside_the_network_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not first_step(classifier(), replace(RECIPE, learning_rate=10.0))["update_ratio"].passed
    assert not first_step(classifier(), replace(RECIPE, learning_rate=1e-9))["update_ratio_least"].passed
    frozen = replace(RECIPE, tuning=Tuning(frozen_layers=1))
    assert all(check.passed for check in first_step(classifier(), frozen).values())
    monkeypatch.setattr(loop, "set_trainable", lambda network, *_, **__: network.head.requires_grad_(False))
    found = first_step(classifier())["unmoved_parameters"]
    assert (found.passed, found.value) == (False, 2)


def test_the_loss_of_a_batch_is_the_mean_of_its_samples_with_and_without_weights() -> None:
    images, labels = batch()
    index = torch.arange(12)
    uneven = replace(task_for(labels), loss_weights=torch.tensor([1.0, 5.0, 20.0]))
    for task in (task_for(labels), uneven):
        assert start_checks.loss_of_each(classifier(UNEVEN), task, images, index).passed

    class OverTheBatch(Classification):
        def _loss_of(self, logits: torch.Tensor, targets: torch.Tensor, reduction: str) -> torch.Tensor:
            return super()._loss_of(logits.log_softmax(0), targets, reduction)

    class Summed(Classification):
        def _loss_of(self, logits: torch.Tensor, targets: torch.Tensor, reduction: str) -> torch.Tensor:
            del reduction
            return super()._loss_of(logits, targets, "sum")

    for wrong in (OverTheBatch, Summed):
        task = wrong(labels, torch.ones(3), 0.0, None)
        assert not start_checks.loss_of_each(classifier(), task, images, index).passed


def test_the_first_loss_is_held_against_the_prior_as_the_classes_weigh() -> None:
    images, _ = batch(100)
    labels = torch.tensor([1, 2] + [0] * 98)
    weights = torch.tensor([1.0, 10.0, 10.0])
    logits = classifier(UNEVEN)(images).detach()
    weighted, plain = (float(functional.cross_entropy(logits, labels, by)) for by in (weights, None))
    assert start_checks.initial_loss(weighted, labels, UNEVEN, weights).passed
    assert not start_checks.initial_loss(plain, labels, UNEVEN, weights).passed
