"""What the loop can do beside plain steps: parts, growing batches, patience, leaving in the middle."""

import math
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stages.lib.checkpoint import CheckpointStore
from stages.lib.counters import generator
from stages.lib.divergence import DivergedError
from stages.lib.errors import InputError
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import Normalisation
from stages.lib.optimizers import UpdateRule
from stages.lib.recipe import Phase, Recipe
from stages.lib.schedule import Schedule
from stages.lib.stopping import epochs_since_best, is_over, just_improved, kept_row
from stages.lib.tasks import Classification, Held
from stages.lib.termination import TerminatedError
from tests.bars_set import FACTS, bars_set, same
from tests.prepared_data import bars

CPU = torch.device("cpu")
PLAIN = Recipe((Phase("all", 4, 1.0),), 8, 3e-3, 0.1, 0.2, 0.9, None, seed=5)
RULES = (UpdateRule("adamw"), UpdateRule("sgd"), UpdateRule("muon"), UpdateRule("muon", hold_norm=True))


def network(dropout: float = 0.0, drop_path: float = 0.0) -> Classifier:
    prior = torch.full((3,), -math.log(3))
    shape = Architecture(1, 8, (8, 16), 3)
    return new_classifier(shape, prior, generator(CPU, "engine"), dropout, drop_path)


@dataclass(frozen=True)
class Disturbed(Classification):
    """A task at whose n-th loss something happens to the process, or that has room for `room` images."""

    terminate_at: int = -1
    room: int = 1000
    val_losses: tuple[float, ...] = ()

    def loss(self, *given: Any) -> torch.Tensor:
        _, _, index, *_ = given
        CALLS.append(len(index))
        if len(CALLS) == self.terminate_at:
            os.kill(os.getpid(), signal.SIGTERM)
        if len(index) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss(*given)

    def validate(self, network: nn.Module) -> dict[str, float]:
        del network
        VALIDATED.append(1)
        return {"val_loss": self.val_losses[len(VALIDATED) - 1]} if self.val_losses else {}


CALLS: list[int] = []
VALIDATED: list[int] = []


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    CALLS.clear()
    VALIDATED.clear()


def task(**changes: object) -> Disturbed:
    _, labels = bars_set()
    return Disturbed(labels, torch.tensor([2.0, 1.0, 0.5]), 0.0, None, **changes)  # type: ignore[arg-type]


def trained(recipe: Recipe, what: Classification | None = None, **how: float) -> LoopState:
    data, _ = bars_set()
    return fit(LoopState.start(network(**how), recipe), what or task(), data, recipe)


def close(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.allclose(a, b, atol=2e-5) for a, b in pairs)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_a_batch_in_parts_trains_the_network_that_the_whole_batch_trains(parts: int) -> None:
    whole, pieces = trained(PLAIN), trained(replace(PLAIN, parts=parts))
    assert close(whole.network, pieces.network)
    assert pieces.step == whole.step
    assert pieces.history[-1]["train_loss"] == pytest.approx(whole.history[-1]["train_loss"], rel=1e-4)


def test_f11_out_of_memory_trains_on_in_smaller_parts_and_says_in_how_many() -> None:
    state = trained(PLAIN, task(room=3))
    assert state.parts == 4  # batches of 8: halves of 4 are too large, quarters of 2 fit
    assert close(state.network, trained(PLAIN).network)


def test_clipping_bounds_the_step_of_plain_sgd() -> None:
    recipe = replace(PLAIN, phases=(Phase("all", 1, 1.0),), batch_size=24, rule=UpdateRule("sgd", 0.0))
    recipe = replace(recipe, weight_decay=0.0, warmup_fraction=0.0, schedule=Schedule(kind="constant"))
    state = trained(replace(recipe, learning_rate=1.0, clip_norm=1e-3))
    moved = [
        (a - b).detach().square().sum()
        for a, b in zip(state.network.parameters(), network().parameters(), strict=True)
    ]
    assert float(torch.stack(moved).sum().sqrt()) == pytest.approx(1e-3, rel=0.02)


def test_the_curves_hold_the_data_term_and_the_regularisation_term() -> None:
    state = trained(PLAIN)
    decayed = sum(float(p.detach().square().sum()) for p in state.network.parameters() if p.ndim > 1)
    assert state.history[-1]["regularisation_loss"] == pytest.approx(0.5 * 0.1 * decayed, rel=1e-5)
    plain = replace(PLAIN, weight_decay=0.0)
    assert trained(plain).history[-1]["regularisation_loss"] == 0.0


def test_a_growing_batch_takes_fewer_steps_at_an_unfalling_rate() -> None:
    how = Schedule(kind="multistep", milestones=(0.5,), gamma=0.5, grow_batch=True, largest_batch=64)
    recipe = replace(PLAIN, warmup_fraction=0.0, schedule=how)
    state = trained(recipe)
    assert [row["batch_size"] for row in state.history] == [8, 8, 16, 16]
    assert state.step == 3 + 3 + 2 + 2
    assert {row["learning_rate"] for row in state.history} == {3e-3}


def test_a_plateau_lowers_the_rate() -> None:
    how = Schedule(kind="plateau", gamma=0.5, patience=0)
    recipe = replace(PLAIN, warmup_fraction=0.0, schedule=how)
    state = trained(recipe, task(val_losses=(1.0, 1.0, 0.5, 0.4)))
    assert [row["learning_rate"] for row in state.history] == pytest.approx([3e-3, 3e-3, 1.5e-3, 1.5e-3])


def test_the_rate_follows_the_batch_where_asked() -> None:
    recipe = replace(PLAIN, warmup_fraction=0.0, schedule=Schedule(kind="constant"), rate_batch=2)
    for scaling, times in (("none", 1), ("sqrt", 2), ("linear", 4)):
        state = trained(replace(recipe, rate_scaling=scaling))  # type: ignore[arg-type]
        assert state.history[-1]["learning_rate"] == pytest.approx(3e-3 * times)


def test_patience_ends_the_run_and_publishes_the_best_weights() -> None:
    recipe = replace(PLAIN, patience=2, phases=(Phase("all", 9, 1.0),))
    losses = (1.0, 0.5, 0.6, 0.7, 0.1)
    state = trained(recipe, task(val_losses=losses))
    assert [row["val_loss"] for row in state.history] == [1.0, 0.5, 0.6, 0.7]
    VALIDATED.clear()
    two, data = LoopState.start(network(), recipe), bars_set()[0]
    with pytest.raises(IndexError):  # ends before anything is known of the epochs after the best one
        fit(two, task(val_losses=losses[:2]), data, recipe)
    assert same(state.averaged, _module_of(two.best))
    assert not same(state.network, state.averaged)


def _module_of(tensors: dict[str, torch.Tensor]) -> nn.Module:
    module = network()
    module.load_state_dict(tensors)
    return module


def test_patience_without_val_is_refused() -> None:
    with pytest.raises(InputError, match="the val split is empty"):
        trained(replace(PLAIN, patience=2))


def test_a_plateau_without_val_is_refused() -> None:
    with pytest.raises(InputError, match=r"schedule\.kind plateau .* val split is empty"):
        trained(replace(PLAIN, schedule=Schedule(kind="plateau")))


def test_patience_is_a_function_of_the_curves() -> None:
    assert epochs_since_best([]) == epochs_since_best([3.0]) == 0
    assert epochs_since_best([3.0, 1.0, 2.0, 2.0]) == 2
    recipe = replace(PLAIN, phases=(Phase("head", 1, 0.0), Phase("all", 5, 1.0)), patience=1)
    rows = [{"val_loss": loss} for loss in (0.1, 0.5, 0.4)]
    assert just_improved(rows, recipe)  # the head phase's loss does not count
    assert not is_over(rows, recipe)
    rows = [*rows, {"val_loss": 0.4}]
    assert is_over(rows, recipe)
    assert kept_row(rows, recipe) is rows[2]
    assert kept_row(rows, replace(recipe, patience=0)) is rows[3]


def test_f3_sigterm_saves_inside_an_epoch_and_the_next_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    data, _ = bars_set()
    whole = trained(PLAIN, dropout=0.3)
    CALLS.clear()
    store = CheckpointStore(tmp_path / "k", "k")
    before = signal.getsignal(signal.SIGTERM)
    start = LoopState.start(network(0.3), PLAIN)
    with pytest.raises(TerminatedError, match="after epoch 1 and 2 steps of the next") as raised:
        fit(start, task(terminate_at=5), data, PLAIN, store=store)
    assert raised.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before
    newest = store.newest()
    assert newest is not None
    assert newest.name == "epoch-000001+000000002"
    again = fit(LoopState.start(network(0.3), PLAIN), task(), data, PLAIN, store=store)
    assert same(again.network, whole.network)
    assert same(again.averaged, whole.averaged)
    assert again.history == whole.history


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_r1_every_optimiser_resumes_to_the_same_bytes(tmp_path: Path, rule: UpdateRule) -> None:
    data, _ = bars_set()
    recipe = replace(PLAIN, rule=rule, patience=3)
    losses = (0.9, 0.5, 0.6, 0.7)
    whole = trained(recipe, task(val_losses=losses), drop_path=0.2)
    CALLS.clear()
    VALIDATED.clear()
    store = CheckpointStore(tmp_path / "k", "k")
    start = LoopState.start(network(drop_path=0.2), recipe)
    with pytest.raises(TerminatedError):
        fit(start, task(terminate_at=8, val_losses=losses), data, recipe, store=store)
    again = LoopState.start(network(drop_path=0.2), recipe)
    fit(again, task(val_losses=losses), data, recipe, store=store)
    assert same(again.averaged, whole.averaged)
    assert again.history == whole.history


def test_a_loss_that_is_no_number_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    data, _ = bars_set()
    store = CheckpointStore(tmp_path / "k", "k")
    fit(LoopState.start(network(), PLAIN), task(), data, replace(PLAIN, phases=PLAIN.phases), store=store)
    longer = replace(PLAIN, phases=(Phase("all", 6, 1.0),), learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"at step 1\d, in a batch of 8 images: s.*epoch-00000[45]"):
        fit(LoopState.start(network(), longer), task(), data, longer, store=store)


def test_dropout_and_stochastic_depth_draw_from_counters_and_are_off_in_evaluation() -> None:
    for how in ({"dropout": 0.5}, {"drop_path": 0.5}):
        one, two, plain = trained(PLAIN, **how), trained(PLAIN, **how), trained(PLAIN)
        assert same(one.network, two.network)
        assert not same(one.network, plain.network)
        net, images = one.network.eval(), torch.randn(2, 1, 8, 8)
        assert torch.equal(net(images), net(images))


def test_whole_val_is_looked_at_after_every_epoch() -> None:
    data, labels = bars_set()
    seen: list[int] = []

    class Counting(Held):
        def logits(self, network: nn.Module) -> torch.Tensor:
            found = super().logits(network)
            seen.append(len(found))
            return found

    what = Classification(labels, torch.ones(3), 0.0, Counting(data.images, labels, FACTS))
    fit(LoopState.start(network(), PLAIN), what, data, PLAIN)
    assert seen == [24] * 4


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_r1_a_network_laid_out_channels_last_resumes_to_the_same_bytes(
    tmp_path: Path, rule: UpdateRule
) -> None:
    pixels, labels = bars(24, side=20, channels=3)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    data = TrainingSet(images, tuple(f"s{at}" for at in range(24)), Normalisation((0.3,) * 3, (0.25,) * 3))
    recipe = replace(PLAIN, rule=rule, phases=(Phase("all", 2, 1.0),))

    def start() -> LoopState:
        shape = Architecture(3, 20, (8, 16), 3)
        return LoopState.start(new_classifier(shape, torch.zeros(3), generator(CPU, "wide")), recipe)

    what = Disturbed(torch.from_numpy(labels), torch.ones(3), 0.0, None)
    whole = fit(start(), what, data, recipe)
    kernel = whole.network.get_parameter("body.blocks.0.conv1.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    CALLS.clear()
    store = CheckpointStore(tmp_path / "k", "k")
    with pytest.raises(TerminatedError):
        fit(start(), replace(what, terminate_at=2), data, recipe, store=store)
    again = fit(start(), what, data, recipe, store=store)
    assert same(again.network, whole.network)
    assert same(again.averaged, whole.averaged)


def test_a_resumed_run_takes_the_parts_that_fitted_before(tmp_path: Path) -> None:
    data, _ = bars_set()
    store = CheckpointStore(tmp_path / "k", "k")
    with pytest.raises(TerminatedError):
        fit(LoopState.start(network(), PLAIN), task(room=3, terminate_at=20), data, PLAIN, store=store)
    CALLS.clear()
    fit(LoopState.start(network(), PLAIN), task(room=3), data, PLAIN, store=store)
    assert max(CALLS) == 2  # nothing that had no room is tried again
