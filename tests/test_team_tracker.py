"""MLflow's server on PostgreSQL, started by `make mlflow-server`: all arrives, and nothing is mixed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.commands.sync import drain, sync, waiting
from stages.lib.journal import Journal
from stages.lib.mirror import Mirror
from stages.lib.provenance import Inputs
from tests.mlflow_server import MlflowServer, started
from tests.postgres_server import free_port, postgres

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # MLflow's own warnings are not ours
]

ROOT = Path(__file__).parents[1]
EPOCHS = 20
CLONE = f"""\
import sys, time
from pathlib import Path
from stages.commands.sync import drain, sync
from stages.lib.journal import Journal
from stages.lib.mirror import Mirror
from stages.lib.provenance import Inputs

who, meeting = int(sys.argv[1]), Path(sys.argv[2])
inputs = Inputs("python -m stages.train", {{"train.epochs": {EPOCHS}}}, {{}})

def wait_for(person, stage):
    while not (meeting / f"{{person}}-{{stage}}").exists():
        time.sleep(0.05)

for stage in range(3):
    journal = Journal.start(f"train@{{stage}}", inputs)
    for epoch in range({EPOCHS}):
        journal.metrics({{"val/loss": 1000.0 * who + 100 * stage + epoch}}, epoch)
        if epoch == {EPOCHS} // 2:  # the second finds the first one's run under way, and neither has ended
            wait_for(1, stage) if who == 2 else None
            drain(Mirror.open(Path()))
            (meeting / f"{{who}}-{{stage}}").touch()
            wait_for(3 - who, stage)
    journal.finish({{"val/top1_accuracy": who / 10}})
sys.exit(sync(120))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("team")
    with postgres(folder) as store:
        venv = os.path.relpath(Path(sys.executable).parents[1], ROOT)
        port = free_port()
        environment = {
            "MLFLOW_BACKEND_STORE_URI": store,
            "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
            "MLFLOW_PORT": str(port),
            "MLFLOW_WORKERS": "1",
        }
        command = ["make", "-C", str(ROOT), f"VENV={venv}", "-o", f"{venv}/.ready", "mlflow-server"]
        with started(MlflowServer(f"http://127.0.0.1:{port}", command, folder / "log", environment)) as made:
            yield made


@pytest.fixture
def recording(
    server: MlflowServer, _own_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Mirror:
    monkeypatch.setenv("ASSAY_TRACKING", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)
    monkeypatch.chdir(tmp_path)
    return Mirror.open(tmp_path)


def history(mirror: Mirror, run_id: str) -> list[tuple[int, float]]:
    points = mirror.client.get_metric_history(run_id, "val/loss")
    return sorted((point.step, point.value) for point in points)


def test_two_clones_at_once_send_every_point_and_mix_none(recording: Mirror, tmp_path: Path) -> None:
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    people = []
    for who in (1, 2):
        clone = tmp_path / f"clone{who}"
        clone.mkdir()
        environment = os.environ | {
            "ASSAY_STATE": str(clone / ".assay"),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-c", CLONE, str(who), str(meeting)]
        people.append(subprocess.Popen(command, cwd=clone, env=environment))
    assert [person.wait(240) for person in people] == [0, 0]
    for stage in range(3):
        key = Inputs("python -m stages.train", {"train.epochs": EPOCHS}, {}).key()
        runs = recording.find(f"train@{stage}", key)
        assert [run.info.status for run in runs] == ["FINISHED"] * 2
        assert sorted(history(recording, run.info.run_id) for run in runs) == [
            [(epoch, 1000.0 * who + 100 * stage + epoch) for epoch in range(EPOCHS)] for who in (1, 2)
        ]


def test_F22_R13_a_server_killed_in_mid_run_costs_no_time_and_no_point(
    recording: Mirror, server: MlflowServer
) -> None:
    inputs = Inputs("python -m stages.train", {"train.epochs": 400}, {})
    journal = Journal.start("train@0", inputs)
    for epoch in range(200):
        journal.metrics({"val/loss": 1.0 / (epoch + 1)}, epoch)
    drain(Mirror.open(Path()))
    server.kill()
    begun = time.monotonic()
    for epoch in range(200, 400):
        journal.metrics({"val/loss": 1.0 / (epoch + 1)}, epoch)
    journal.finish({"val/top1_accuracy": 0.5})
    assert time.monotonic() - begun < 5, "a stage waits for nobody"
    assert sync(wait_seconds=5) == 1, "the record is kept"
    server.start()
    sending = subprocess.Popen([sys.executable, "-m", "stages.commands.sync"], env=os.environ)
    (run,) = recording.find("train@0", inputs.key())
    while True:  # it runs for moments only, or it would be done before anybody has looked
        sending.send_signal(signal.SIGSTOP)
        if len(history(recording, run.info.run_id)) > 200:
            break
        sending.send_signal(signal.SIGCONT)
        assert sending.poll() is None
        time.sleep(0.02)
    server.kill()
    sending.send_signal(signal.SIGCONT)
    sending.wait(60)
    assert len(waiting()) == 1, "it died while the rest was being sent"
    server.start()
    assert sync() == 0
    assert history(recording, run.info.run_id) == [(epoch, 1.0 / (epoch + 1)) for epoch in range(400)]
