"""A real MLflow server on loopback for tests, with whichever store."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.postgres_server import free_port

START_SECONDS = 90.0


@dataclass
class MlflowServer:
    """A server that can be stopped, killed and started again on its port."""

    url: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"} | self.environment
        environment.pop("MLFLOW_TRACKING_URI", None)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        port = int(self.url.rsplit(":", 1)[1])
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.2)
        pytest.fail(f"the MLflow server did not start:\n{self.log.read_text()}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its workers."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it as a power cut would, stopped or not."""
        if self.process is None or self.process.poll() is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def mlflow_server(folder: Path, store: str = "") -> Iterator[MlflowServer]:
    """Start a server that keeps its runs in `store` (default: SQLite) and its artifacts in `folder`."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", store or f"sqlite:///{folder / 'server.db'}", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with started(MlflowServer(f"http://127.0.0.1:{port}", command, folder / "server.log")) as server:
        yield server


@contextmanager
def started(server: MlflowServer) -> Iterator[MlflowServer]:
    """Start a server, and end it with the block."""
    try:
        server.start()
        yield server
    finally:
        server.kill()
