"""Two processes, each with half of every batch, are one process with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from stages.lib.checkpoint import CheckpointStore
from stages.lib.parallel import Team, running_statistics, share_step, team_on

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4
"""Of any weight after nine steps: AdamW divides by the size of gradients, rounding differences with them."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = str(tmp_path_factory.mktemp("shared"))
    command = [sys.executable, "-m", "tests.shared_training", folder]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_two_processes_train_the_network_that_one_does_with_the_batch_in_two_parts(
    told: dict[str, str],
) -> None:
    assert told["two0"] == told["two1"] == told["alone_parts"]
    assert told["dropout0"] == told["dropout1"] == told["alone_dropout"]


@pytest.mark.parametrize("name", ["mixed", "repainted"])
def test_what_is_drawn_for_a_part_is_the_same_in_whichever_process_computes_it(
    told: dict[str, str], name: str
) -> None:
    assert told[f"{name}0"] == told[f"{name}1"] == told[f"alone_{name}"]


def test_two_processes_train_the_network_of_the_whole_batch_within_rounding(told: dict[str, str]) -> None:
    assert 0 < float(told["distance_alone"]) < TOLERANCE


def test_r1_sigterm_to_one_process_saves_and_both_resume_to_the_same_bytes(told: dict[str, str]) -> None:
    assert told["again0"] == told["again1"] == told["two0"]


def test_r1_batch_norm_too_resumes_to_the_same_bytes_from_inside_an_epoch(told: dict[str, str]) -> None:
    assert told["norm_again0"] == told["norm_again1"] == told["norm0"] == told["norm1"]


def test_r1_f1_where_one_process_is_killed_the_other_ends_and_both_resume_to_the_same_bytes(
    told: dict[str, str],
) -> None:
    assert told["risen0"] == told["risen1"] == told["two0"]


def test_a_run_that_two_processes_began_is_ended_by_one(told: dict[str, str]) -> None:
    assert float(told["distance_on_alone"]) < TOLERANCE


def test_f11_where_one_process_has_no_room_both_take_smaller_parts(told: dict[str, str]) -> None:
    assert told["room0"] == told["room1"]
    assert float(told["distance_room"]) < TOLERANCE


def test_alone_nothing_is_sent_and_nothing_changes() -> None:
    team, network = team_on(torch.device("cpu")), nn.BatchNorm2d(2)
    assert team == Team()
    loss = torch.tensor(2.0)
    assert share_step(team, network, loss) is loss
    assert network.weight.grad is None
    assert team.any(True)
    assert not team.any(False)
    assert team.firsts({"val_loss": 1.5}) == {"val_loss": 1.5}


def test_held_statistics_and_computed_kernels_are_not_averaged() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2).eval(), nn.GroupNorm(1, 2))
    network.register_buffer("kernel", torch.ones(2))
    assert [id(found) for found in running_statistics(network)] == [
        id(network[0].running_mean),
        id(network[0].running_var),
    ]


def test_only_the_first_process_writes_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    store = CheckpointStore(tmp_path / "k", "k")
    store.save(1, {"a": torch.zeros(2)}, {})
    assert store.newest() is None
    monkeypatch.setenv("RANK", "0")
    store.save(1, {"a": torch.zeros(2)}, {})
    monkeypatch.setenv("RANK", "1")
    store.retire()
    assert store.newest() is not None
