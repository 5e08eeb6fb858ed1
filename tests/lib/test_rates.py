"""Where schedule, scaling and phase meet."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from stages.lib.optimizers import UpdateRule, new_optimizer
from stages.lib.rates import batch_at, set_rates_at
from stages.lib.recipe import Phase, Recipe
from stages.lib.schedule import Schedule

TWO_PHASES = Recipe((Phase("head", 2, 0.0), Phase("all", 4, 0.5)), 8, 0.1, 0.0, 0.0, 0.0, None, seed=0)


def optimizer(recipe: Recipe) -> torch.optim.Optimizer:
    network = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    return new_optimizer(network, recipe.rule, recipe.tuning, recipe.learning_rate, recipe.weight_decay)


def test_each_phase_begins_its_schedule_anew_and_the_body_has_its_share() -> None:
    recipe = replace(TWO_PHASES, schedule=Schedule(kind="polynomial"))
    steps = optimizer(recipe)
    found = [set_rates_at(steps, [], recipe, epoch, 0.0) for epoch in range(6)]
    assert found == pytest.approx([0.1, 0.05, 0.1, 0.075, 0.05, 0.025])
    rates = {group["body"]: group["lr"] for group in steps.param_groups}
    assert rates == pytest.approx({True: 0.0125, False: 0.025})
    set_rates_at(steps, [], recipe, 0, 0.0)
    assert {group["lr"] for group in steps.param_groups if group["body"]} == {0.0}


def test_a_plateau_counts_the_losses_of_its_own_phase_alone() -> None:
    recipe = replace(TWO_PHASES, schedule=Schedule(kind="plateau", gamma=0.1, patience=0))
    rows = [{"val_loss": loss} for loss in (0.1, 0.2, 5.0)]  # worse, but the first of its phase
    assert set_rates_at(optimizer(recipe), rows, recipe, 3, 0.5) == pytest.approx(0.1)
    assert set_rates_at(optimizer(recipe), [*rows, {"val_loss": 6.0}], recipe, 4, 0.5) == pytest.approx(0.01)


def test_one_cycles_momentum_falls_as_the_rate_rises() -> None:
    how = Schedule(kind="one_cycle", momentum_low=0.5)
    recipe = replace(TWO_PHASES, schedule=how, rule=UpdateRule("sgd", 0.9), warmup_fraction=0.5)
    steps = optimizer(recipe)
    set_rates_at(steps, [], recipe, 4, 0.0)  # half of the second phase: the peak
    assert {group["momentum"] for group in steps.param_groups} == {0.5}


def test_a_batch_grows_by_what_the_rate_would_have_fallen() -> None:
    how = Schedule(kind="multistep", milestones=(0.5,), gamma=0.25, grow_batch=True, largest_batch=64)
    recipe = replace(TWO_PHASES, schedule=how)
    assert [batch_at(recipe, epoch) for epoch in range(6)] == [8, 32, 8, 8, 32, 32]
    assert batch_at(TWO_PHASES, 5) == 8
