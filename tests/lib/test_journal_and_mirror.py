"""MLflow is a mirror: one run per executed stage, found by its key, and no server can hold up a stage."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stages.commands.sync import sync, waiting
from stages.lib.journal import Journal, outbox
from stages.lib.mirror import CLONE_TAG, Mirror, metric_name
from stages.lib.provenance import Inputs
from tests.mlflow_server import MlflowServer, mlflow_server

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's and its server's own warnings are not ours

INPUTS = Inputs("python -m stages.train", {"train.epochs": 3}, {"data/split/splits.csv": "0" * 32})


@pytest.fixture
def recording(_own_state: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_TRACKING", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{_own_state.parent / 'mlflow.db'}")
    return _own_state.parent


def record(inputs: Inputs = INPUTS, stage: str = "train@0") -> None:
    journal = Journal.start(stage, inputs)
    for epoch in range(3):
        journal.metrics({"val/loss": 1.0 / (epoch + 1)}, epoch)
    journal.finish({"val/top1_accuracy": 0.5})


def runs_of(root: Path, stage: str, inputs: Inputs = INPUTS) -> list["Run"]:
    return Mirror.open(root).find(stage, inputs.key())


def test_a_run_holds_params_epochs_inputs_and_commit_under_a_parent(recording: Path, tmp_path: Path) -> None:
    journal = Journal.start("train@0", INPUTS)
    journal.metrics({"val/loss": 0.5}, 0)
    journal.metrics({"val/loss": 0.25}, 1)
    plot = tmp_path / "history.csv"
    plot.write_text("epoch,val_loss\n0,0.5\n")
    journal.finish({"val/top1_accuracy": 0.5}, [plot])
    assert sync() == 0
    (run,) = runs_of(recording, "train@0")
    mirror = Mirror.open(recording)
    history = mirror.client.get_metric_history(run.info.run_id, "val/loss")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 0.25)]
    assert run.data.metrics["val/top1_accuracy"] == 0.5
    assert run.data.params == {"train.epochs": "3"}
    assert run.info.status == "FINISHED"
    assert run.inputs.dataset_inputs[0].dataset.digest == "0" * 32
    assert run.data.tags["mlflow.source.git.commit"]
    assert run.data.tags["assay.git_dirty"] in {"true", "false"}
    parent = mirror.client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["assay.stage"] == "pipeline"
    assert [file.path for file in mirror.client.list_artifacts(run.info.run_id)] == ["history.csv"]


def test_sending_twice_adds_no_run(recording: Path) -> None:
    record()
    assert sync() == 0
    assert sync() == 0
    assert len(runs_of(recording, "train@0")) == 1


def test_other_params_are_another_run(recording: Path) -> None:
    other = Inputs(INPUTS.command, {"train.epochs": 4}, INPUTS.digests)
    record()
    record(other)
    assert sync() == 0
    assert len(runs_of(recording, "train@0")) == 1
    assert len(runs_of(recording, "train@0", other)) == 1


def test_a_killed_stage_is_marked_and_its_resumption_goes_on_in_the_same_run(recording: Path) -> None:
    code = (
        "import os\n"
        "from stages.lib.journal import Journal\n"
        "from stages.lib.provenance import Inputs\n"
        f"inputs = Inputs({INPUTS.command!r}, {INPUTS.params!r}, {INPUTS.digests!r})\n"
        "journal = Journal.start('train@0', inputs)\n"
        "journal.metrics({'val/loss': 1.0}, 0)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sync() == 0
    (run,) = runs_of(recording, "train@0")
    assert run.info.status == "KILLED"
    record()
    assert sync() == 0
    (resumed,) = runs_of(recording, "train@0")
    assert resumed.info.run_id == run.info.run_id
    assert resumed.info.status == "FINISHED"


def test_F30_a_line_torn_by_a_kill_is_dropped_and_the_rest_is_sent(recording: Path) -> None:
    journal = Journal.start("train@0", INPUTS)
    journal.metrics({"val/loss": 1.0}, 0)
    assert journal._file is not None
    journal._file.write('{"event": "metr')
    journal._file.close()
    assert sync() == 0
    (run,) = runs_of(recording, "train@0")
    assert run.data.metrics == {"val/loss": 1.0}


def test_F23_names_that_mlflow_refuses_are_replaced() -> None:
    assert metric_name("recall/a,b<c>..d/") == "recall/a_b_c__d"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    with mlflow_server(tmp_path) as made:
        yield made


def test_F22_a_dead_server_costs_a_stage_nothing_and_no_point_is_lost(
    recording: Path, server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    server.signal(signal.SIGSTOP)
    started = time.monotonic()
    record()
    assert time.monotonic() - started < 1.0
    assert sync(wait_seconds=1.0) == 1, "the record is kept"
    server.signal(signal.SIGCONT)
    assert sync() == 0
    assert waiting() == []
    (run,) = runs_of(recording, "train@0")
    history = Mirror.open(recording).client.get_metric_history(run.info.run_id, "val/loss")
    assert [point.step for point in history] == [0, 1, 2]


def test_R13_a_tracker_that_is_not_there_is_said_so_soon_and_gets_everything_later(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = os.environ["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    record()
    started = time.monotonic()
    assert sync() == 1
    assert time.monotonic() - started < 20, "it gives up long before its limit of 60 s"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own)
    assert sync() == 0
    assert len(runs_of(recording, "train@0")) == 1


def test_the_note_of_a_tracker_that_is_not_there_holds_no_password(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    record()
    assert sync() == 1
    note = (outbox().parent / "unreachable.txt").read_text()
    assert "127.0.0.1" in note
    assert "secret" not in note


def test_clones_that_share_a_state_folder_share_no_run_and_no_record(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ada", "bob"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        Journal.start("train@0", INPUTS).fail("stopped")
    assert len(waiting()) == 1, "the other's record is the other's to send"
    for name in ("ada", "bob"):
        monkeypatch.chdir(tmp_path / name)
        assert sync() == 0
    assert len({run.data.tags[CLONE_TAG] for run in runs_of(recording, "train@0")}) == 2
