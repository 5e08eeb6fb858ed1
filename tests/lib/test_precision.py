"""Sixteen bits where they are safe: weights stay float32, float16's loss is scaled as torch scales it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from stages.lib import precision
from stages.lib.checkpoint import CheckpointStore
from stages.lib.loop import fit
from stages.lib.loop_state import LoopState
from stages.lib.precision import FIRST_SCALE, LossScale, Precision, arithmetic
from stages.lib.termination import TerminatedError
from tests.lib.test_engine import CALLS, PLAIN, bars_set, network, same, task, trained

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    CALLS.clear()


@pytest.mark.parametrize("brief", ["bfloat16", "float16"])
def test_a_brief_training_learns_about_the_same_in_float32_weights(brief: Precision) -> None:
    full, short = trained(PLAIN), trained(replace(PLAIN, precision=brief))
    assert all(parameter.dtype == torch.float32 for parameter in short.network.parameters())
    assert not same(full.network, short.network)
    last = float(full.history[-1]["train_loss"])
    assert float(short.history[-1]["train_loss"]) == pytest.approx(last, rel=0.05)


def test_products_are_brief_inside_and_full_outside() -> None:
    layer, numbers = nn.Linear(4, 4), torch.randn(2, 4)
    for name in ("bfloat16", "float16", "float32"):
        with arithmetic(CPU, name):  # type: ignore[arg-type]
            assert layer(numbers).dtype == getattr(torch, name)
    assert layer(numbers).dtype == torch.float32


def test_the_scale_goes_as_torchs_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "GROWS_AFTER", 3)
    mine, weight = LossScale.start("float16"), nn.Parameter(torch.zeros(2))
    theirs = torch.amp.GradScaler("cpu", init_scale=FIRST_SCALE, growth_interval=3)
    optimizer = torch.optim.SGD([weight], 0.1)
    for at, gradient in enumerate([1.0, float("inf"), 1.0, 2.0, float("nan"), 1.0, 1.0, 1.0, 1.0]):
        theirs.scale(torch.zeros(()))
        weight.grad = torch.full((2,), gradient) * mine.value
        own = weight.grad.clone()
        before = weight.detach().clone()
        theirs.step(optimizer)
        theirs.update()
        stepped = not torch.equal(before, weight.detach())
        weight.grad = own
        assert mine.is_sound([weight], "float16") is stepped, at
        assert mine.value == theirs.get_scale(), at
        if stepped:
            assert weight.grad.tolist() == [gradient] * 2


def test_other_precisions_have_no_scale_and_gradients_are_left_alone() -> None:
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.tensor([float("inf")])
    for name in ("float32", "bfloat16"):
        scale = LossScale.start(name)  # type: ignore[arg-type]
        assert scale.is_sound([weight], name)  # type: ignore[arg-type]
        assert scale == LossScale(1.0, 0)


def test_a_step_that_overflows_is_left_out_and_training_goes_on() -> None:
    recipe = replace(PLAIN, precision="float16")
    data, _ = bars_set()
    start = LoopState.start(network(), recipe)
    start.scale = LossScale(2.0**20)  # beyond float16: the first steps overflow
    state = fit(start, task(), data, recipe)
    assert state.scale.value < 2.0**20
    assert all(bool(torch.isfinite(parameter).all()) for parameter in state.network.parameters())
    assert not same(state.network, network())


def test_r1_a_float16_training_resumes_to_the_same_bytes_with_its_scale(tmp_path: Path) -> None:
    recipe = replace(PLAIN, precision="float16")
    data, _ = bars_set()
    whole = trained(recipe)
    CALLS.clear()
    store = CheckpointStore(tmp_path / "k", "k")
    with pytest.raises(TerminatedError):
        fit(LoopState.start(network(), recipe), task(terminate_at=5), data, recipe, store=store)
    again = fit(LoopState.start(network(), recipe), task(), data, recipe, store=store)
    assert same(again.averaged, whole.averaged)
    assert again.scale == whole.scale
    assert again.scale.sound > 0
