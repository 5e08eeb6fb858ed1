"""How the GPU bench chooses epochs and trains a network that is compiled once, on invented pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.airbench_method import Pictures
from bench.cifar10 import trained, untrained
from bench.gpu_accuracy import PLAN_94, Goal, chosen_epochs, fewest_epochs
from bench.gpu_data import Data, held_out
from stages.lib.normalise import fit_normalisation
from stages.lib.tasks import as_images

N = 60
GOAL = Goal(0.9, (2, 4, 8), 3)


@pytest.fixture(scope="module")
def data() -> Data:
    rng = np.random.default_rng(0)
    host = rng.integers(0, 256, (N, 32, 32, 3), np.uint8)
    pictures = Pictures(as_images(host, torch.device("cpu")), torch.arange(N) % 10)
    return Data(pictures, pictures, host, fit_normalisation(host))


@pytest.mark.parametrize(
    ("reached", "epochs", "mean", "asked"),
    [
        ({2: 0.95}, 2, 0.95, [2]),
        ({2: 0.89, 4: 0.9, 8: 0.99}, 4, 0.9, [2, 4]),
        ({2: 0.1, 4: 0.2, 8: 0.3}, 8, 0.3, [2, 4, 8]),
    ],
)
def test_the_fewest_epochs_that_reach_the_goal_are_chosen_and_no_more_are_tried(
    reached: dict[int, float], epochs: int, mean: float, asked: list[int]
) -> None:
    tried: list[int] = []

    def accuracies(n: int) -> list[float]:
        tried.append(n)
        return [reached[n] - 0.01, reached[n] + 0.01]

    found = fewest_epochs(GOAL, accuracies)
    assert (found[0], tried) == (epochs, asked)
    assert found[1] == pytest.approx(mean)


def test_a_goal_that_no_count_reaches_is_said_to_be_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen_epochs("x", GOAL, lambda epochs: lambda _: (epochs / 10, 1.0)) == 8
    assert capsys.readouterr().out.splitlines() == [
        "x: 2 epochs, val accuracy 0.2000, n = 3",
        "x: 4 epochs, val accuracy 0.4000, n = 3",
        "x: 8 epochs, val accuracy 0.8000, n = 3",
        "x: no number of epochs that is tried comes to 0.9 on val",
    ]
    assert chosen_epochs("x", GOAL, lambda _: lambda seed: (0.9 + seed / 100, 1.0)) == 2
    assert capsys.readouterr().out == "x: 2 epochs, val accuracy 0.9100, n = 3\n"


def test_epochs_are_chosen_on_training_pictures_alone_and_normalised_without_those_judged(data: Data) -> None:
    apart = held_out(data)
    assert (len(apart.train.labels), len(apart.test.labels), len(apart.host)) == (54, 6, 54)
    both = torch.cat([apart.train.pixels, apart.test.pixels])
    assert torch.equal(both, data.train.pixels)
    assert apart.normalisation == fit_normalisation(data.host[:54])
    assert apart.normalisation != data.normalisation


def test_a_network_used_again_ends_as_a_new_one(data: Data) -> None:
    plan = replace(PLAN_94, widths=(8, 8, 8), epochs=1, batch_size=20, precision="float32")
    given = data.train.pixels, data.train.labels, data.normalisation
    kept = untrained(plan, data.train.pixels, data.normalisation, seed=5)
    for seed in (0, 1):
        alone, again = trained(plan, *given, seed), trained(plan, *given, seed, compiled=kept)
        assert all(map(torch.equal, alone.state_dict().values(), again.state_dict().values()))
