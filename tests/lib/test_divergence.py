"""What is no number is found before it is saved: in the losses, and in weights whose losses were numbers."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.lib import loop
from stages.lib.checkpoint import CheckpointStore
from stages.lib.divergence import DivergedError, first_without_number
from stages.lib.loop import fit
from stages.lib.loop_state import LoopState
from stages.lib.tasks import Classification
from tests.bars_set import bars_set
from tests.lib.test_engine import PLAIN, network

STEPS = 3
"""Steps an epoch of PLAIN takes on 24 bars; it has four epochs."""


@dataclass(frozen=True)
class Rooted(Classification):
    """A finite loss whose gradient is none at step `at`: the root of 0. SIGTERM may come in that step."""

    at: int = -1
    terminate: bool = False

    def loss(self, *given: Any) -> torch.Tensor:
        TAKEN.append(1)
        loss = super().loss(*given)
        if len(TAKEN) != self.at + 1:
            return loss
        if self.terminate:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss + (given[0].get_parameter("head.weight").sum() * 0).sqrt()


TAKEN: list[int] = []


@pytest.mark.parametrize(
    ("at", "terminate", "epoch"), [(2 * STEPS - 1, False, 2), (4 * STEPS - 1, False, 4), (STEPS, True, 2)]
)
def test_a_gradient_that_is_no_number_ends_the_run_before_anything_is_saved(
    tmp_path: Path, at: int, terminate: bool, epoch: int
) -> None:
    data, labels = bars_set()
    TAKEN.clear()
    task = Rooted(labels, torch.ones(3), 0.0, None, at=at, terminate=terminate)
    store = CheckpointStore(tmp_path / "k", "k")
    says = rf"network/.* after step {at}, in epoch {epoch}: .* checkpoint is .*epoch-00000{epoch - 1}$"
    with pytest.raises(DivergedError, match=says):
        fit(LoopState.start(network(), PLAIN), task, data, PLAIN, store=store)
    saved = store.load_newest()
    assert saved is not None
    assert first_without_number(saved[0]) is None


def test_weights_are_looked_at_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    data, labels = bars_set()
    looked: list[int] = []
    monkeypatch.setattr(loop, "require_numbers", lambda state, _: looked.append(state.step))
    fit(LoopState.start(network(), PLAIN), Classification(labels, torch.ones(3), 0.0, None), data, PLAIN)
    assert looked == [STEPS, 2 * STEPS, 3 * STEPS, 4 * STEPS]


def test_the_first_tensor_without_a_number_is_named_and_counts_are_numbers() -> None:
    named = {"count": torch.tensor(3), "a": torch.zeros(2), "b": torch.tensor([1.0, float("inf")])}
    assert first_without_number(named) == "b"
    assert first_without_number({"a": torch.zeros(2), "count": torch.tensor(3)}) is None
    assert first_without_number({"c": torch.tensor(float("nan")), **named}) == "c"
