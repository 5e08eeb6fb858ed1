from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.lib.counters import generator
from stages.lib.loop import TrainingSet
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import fit_normalisation
from stages.lib.rate_test import BLOWN_UP, HIGHEST, LOWEST, rate_test, suggest
from stages.lib.recipe import Phase, Recipe
from stages.lib.schedule import Schedule
from stages.lib.tasks import Classification
from tests.prepared_data import bars

RECIPE = Recipe((Phase("unused", 1, 1.0),), 16, 0.5, 0.0, 0.2, 0.0, None, seed=0)


def test_a_run_whose_loss_blows_up_ends_there() -> None:
    calls: list[int] = []

    class Growing(Classification):
        def loss(self, network, images, *others):  # type: ignore[no-untyped-def]
            calls.append(len(images))
            return 0 * super().loss(network, images, *others) + (1.0 if len(calls) < 10 else 50.0)

    pixels, labels = bars(16)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    data = TrainingSet(images, tuple(map(str, range(16))), fit_normalisation(pixels))
    network = new_classifier(
        Architecture(1, 8, (8,), 3), torch.zeros(3), generator(torch.device("cpu"), "grows")
    )
    found = rate_test(network, Growing(torch.from_numpy(labels), torch.ones(3), 0.0, None), data, RECIPE, 80)
    assert len(calls) == 10
    assert found.losses == pytest.approx([1.0] * 9)
    assert len(found.rates) == 9


def test_the_suggestion_is_in_the_middle_of_the_longest_fall_and_nothing_where_no_rate_helps() -> None:
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert suggest(rates, np.array([1.0, 0.9, 0.5, 2.0, 1.9])) == pytest.approx(1e-3)
    assert suggest(rates, np.array([1.0, 1.1, 0.9, 0.8, 0.7])) == pytest.approx(1e-2)
    assert suggest(rates, np.array([1.0, 1.1, 1.2, 2.0, 1.9])) == 0
    assert suggest(rates[:0], np.array([])) == 0


def bars_to_learn(n: int = 60) -> tuple[Classifier, Classification, TrainingSet]:
    pixels, labels = bars(n)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    data = TrainingSet(images, tuple(map(str, range(n))), fit_normalisation(pixels))
    randomness = generator(torch.device("cpu"), "rates")
    network = new_classifier(Architecture(1, 8, (8, 16), 3), torch.zeros(3), randomness)
    return network, Classification(torch.from_numpy(labels), torch.ones(3), 0.0, None), data


def test_rates_rise_evenly_the_loss_falls_on_the_way_and_the_network_is_left_untouched() -> None:
    network, task, data = bars_to_learn()
    before = [value.detach().clone() for value in network.parameters()]
    found = rate_test(network, task, data, RECIPE, 80)
    assert found.rates[0] == LOWEST
    assert found.rates[-1] <= HIGHEST
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(HIGHEST / LOWEST) / 79)
    assert found.losses.min() < 0.7 * found.losses[0]
    assert found.losses.max() <= BLOWN_UP * found.losses[0]
    assert 1e-4 < found.suggested < 0.05
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))
    again = rate_test(network, task, data, RECIPE, 80)
    np.testing.assert_array_equal(again.losses, found.losses)


def test_a_schedule_that_grows_batches_has_no_say() -> None:
    growing = replace(RECIPE, schedule=Schedule(grow_batch=True, largest_batch=64))
    subject = bars_to_learn()
    plain = rate_test(*subject, RECIPE, 30)  # of more epochs than the recipe's one
    np.testing.assert_array_equal(rate_test(*subject, growing, 30).losses, plain.losses)
