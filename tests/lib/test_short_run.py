"""A short run goes on where it stopped, and only a network that sees passes."""

from dataclasses import replace

import pytest
import torch

from stages.lib.counters import generator
from stages.lib.loop import TrainingSet
from stages.lib.nets import Architecture, new_classifier
from stages.lib.normalise import fit_normalisation
from stages.lib.recipe import Phase, Recipe
from stages.lib.short_run import ShortRun, sees_its_input
from stages.lib.tasks import Classification, Held
from tests.prepared_data import bars

N, HELD = 60, 30
RECIPE = Recipe((Phase("unused", 1, 1.0),), 20, 0.01, 0.0, 0.2, 0.0, None, seed=0)


def run(*, black: bool = False, shuffled: bool = False, n_held: int = HELD) -> ShortRun:
    pixels, labels = bars(N + HELD)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) * (0 if black else 1)
    facts, truth = fit_normalisation(pixels), torch.from_numpy(labels)
    if shuffled:
        truth = truth[torch.randperm(N + HELD, generator=generator(torch.device("cpu"), "shuffle"))]
    data = TrainingSet(images[:N], tuple(map(str, range(N))), facts)
    held = Held(images[N : N + n_held], truth[N : N + n_held], facts)
    network = new_classifier(Architecture(1, 8, (8, 16), 3), torch.zeros(3), generator(torch.device("cpu")))
    return ShortRun(network, Classification(truth[:N], torch.ones(3), 0.0, None), data, RECIPE, held)


def test_a_network_that_sees_passes_on_thirty_images_as_on_eight() -> None:
    for n_held in (30, 8):
        found = sees_its_input(run(n_held=n_held).go_on(60, "x"), seed=0)
        assert found.passed, found
        assert str(n_held) in found.why


@pytest.mark.parametrize("steps", [30, 240])
@pytest.mark.parametrize("fault", ["black", "shuffled"])
def test_a_blind_network_and_labels_of_other_images_fail_however_long_they_learn(
    steps: int, fault: str
) -> None:
    wrong = run(black=fault == "black", shuffled=fault == "shuffled").go_on(steps, "x")
    found = sees_its_input(wrong, seed=0)
    assert not found.passed, found


def test_going_on_continues_and_every_epoch_is_looked_at() -> None:
    short = run().go_on(6, "x")
    weights = [value.clone() for value in short.state.network.parameters()]
    short.go_on(6, "x")
    assert short.pred_probs.shape == (4, HELD, 3)
    assert len(short.train_losses) == short.state.epoch == 4
    assert any(not torch.equal(*pair) for pair in zip(weights, short.state.network.parameters(), strict=True))
    again = run().go_on(6, "x").go_on(6, "x")
    assert torch.equal(torch.from_numpy(again.pred_probs), torch.from_numpy(short.pred_probs))


def test_the_recipe_given_is_left_as_it_is() -> None:
    before = replace(RECIPE)
    run().go_on(3, "x")
    assert before == RECIPE
