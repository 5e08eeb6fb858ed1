"""What reaches the network is what was decoded, once, in its place; anything else is caught."""

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib import input_checks
from stages.lib.counters import generator
from stages.lib.loop import TrainingSet
from stages.lib.normalise import Normalisation, fit_normalisation, normalise
from stages.lib.recipe import Phase, Recipe
from tests.prepared_data import bars
from tests.training_fixture import AUGMENTATION


def test_labels_in_range_one_an_image_pass() -> None:
    assert input_checks.labels_fit(np.array([0, 1, 2, 1]), 4, 3).passed


@pytest.mark.parametrize(
    ("labels", "faults"), [([0, 1, 3, 2], 1), ([0, 1, -1, 2], 1), ([0, 1, 1, 0], 1), ([0, 1, 2], 1)]
)
def test_labels_out_of_range_missing_or_of_no_class_are_counted(labels: list[int], faults: int) -> None:
    found = input_checks.labels_fit(np.array(labels), 4, 3)
    assert not found.passed
    assert found.value == faults


def test_flat_pictures_are_found() -> None:
    pixels, _ = bars(20)
    assert input_checks.pixels_vary(pixels).passed
    pixels[:5] = 128
    assert not input_checks.pixels_vary(pixels).passed
    assert input_checks.pixels_vary(pixels).value == 0.25


def test_normalisation_of_train_passes_and_of_other_images_or_twice_fails() -> None:
    pixels, _ = bars(60)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    facts = fit_normalisation(pixels)
    once = normalise(images, facts)
    assert input_checks.normalised_train([once]).passed
    other = fit_normalisation(bars(60, seed=9)[0])
    assert not input_checks.normalised_train([normalise(images, other)]).passed
    assert not input_checks.normalised_train([normalise(once, facts)]).passed
    assert not input_checks.normalised_train([images]).passed


def test_a_constant_channel_is_no_fault_of_normalisation() -> None:
    pixels = np.repeat(bars(30)[0], 3, axis=3)
    pixels[..., 2] = 7
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    assert input_checks.normalised_train([normalise(images, fit_normalisation(pixels))]).passed


def test_an_augmentation_that_changes_images_at_no_strength_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    how = AUGMENTATION["augment"].value()
    images = torch.rand(6, 1, 8, 8, generator=generator(torch.device("cpu"), "images"))
    assert input_checks.identity_augmentation(images, how).passed
    monkeypatch.setattr(input_checks, "augment", lambda images, *_: images.transpose(2, 3))
    assert not input_checks.identity_augmentation(images, how).passed


def colour() -> tuple[torch.Tensor, np.ndarray, Normalisation]:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
    facts = fit_normalisation(pixels)
    return normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, facts), pixels, facts


def test_what_was_decoded_passes_and_every_other_picture_fails() -> None:
    ready, pixels, facts = colour()
    assert input_checks.as_decoded("x", ready, pixels, facts).passed
    other = Normalisation((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    wrong = (
        ready.roll(1, 0),
        ready.flip(1),
        ready.transpose(2, 3),
        ready * 255,
        normalise(ready, facts),
        normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255, other),
    )
    for images in wrong:
        assert not input_checks.as_decoded("x", images, pixels, facts).passed


def test_what_a_network_is_given_is_seen_while_the_context_is_open_and_not_after() -> None:
    network, images = nn.Identity(), torch.ones(2, 1, 4, 4)
    with input_checks.Seen(network) as seen:
        network(images)
        network(images * 2)
    network(images * 3)
    assert [float(given.max()) for given in seen.inputs] == [1, 2]


RECIPE = Recipe((Phase("unused", 1, 1.0),), 16, 0.01, 0.0, 0.2, 0.0, None, seed=0)


@pytest.mark.parametrize("weight", [None, 5.0])
def test_an_epoch_as_planned_passes_and_one_that_repeats_or_ignores_the_plan_fails(
    weight: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = (torch.arange(600) % 10 == 0).long()
    sampling = None if weight is None else torch.where(labels == 1, weight, 1.0)
    images = torch.zeros(600, 1, 2, 2, dtype=torch.uint8)
    data = TrainingSet(images, tuple(map(str, range(600))), Normalisation((0.0,), (1.0,)), sampling)
    assert input_checks.visits(data, RECIPE, labels).passed
    wrong = torch.arange(600) // 2 if weight is None else torch.arange(600)
    monkeypatch.setattr(input_checks, "batches_of", lambda *_: wrong.split(16))
    assert not input_checks.visits(data, RECIPE, labels).passed


def test_val_that_looks_like_train_passes_and_val_prepared_otherwise_is_caught() -> None:
    pixels, _ = bars(60, 8, 3)
    tinted = np.clip(pixels + np.array([0, 60, 120]), 0, 255).astype(np.uint8)
    train, val = fit_normalisation(tinted[:40]), tinted[40:]
    assert input_checks.normalised_val(val, train).passed
    assert input_checks.normalised_val(val[:0], train).passed
    assert input_checks.normalised_val(val[:1] // 2, train).passed
    assert not input_checks.normalised_val(val[..., ::-1], train).passed
    assert not input_checks.normalised_val(val // 4, train).passed


def test_a_val_split_made_of_training_images_is_caught_and_a_copy_or_two_are_not() -> None:
    images = torch.from_numpy(bars(60)[0]).permute(0, 3, 1, 2)
    assert input_checks.held_apart(images[:40], images[40:]).passed
    assert input_checks.held_apart(images[:41], images[40:]).value == 0.05
    assert not input_checks.held_apart(images, images[40:]).passed
