"""A real PostgreSQL server on loopback for tests, with a database of its own; skipped where there is none."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

NOBODY = 65534
"""PostgreSQL refuses to run as root, which is what containers run tests as."""

START_SECONDS = 60.0
OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "unix_socket_directories=")
"""Nothing here has to survive a power cut, and a socket's path would have to be short."""


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs; Debian keeps the server's outside of PATH."""
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None
    )
    if found is None:
        pytest.skip(f"PostgreSQL is not installed: there is no {name}")
    return found


def as_somebody() -> list[str]:
    """Return what to put before a command so that it does not run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def postgres(tmp_path: Path) -> Iterator[str]:
    """Start a server, yield the SQLAlchemy URL of an empty database, stop it; its log lies in `tmp_path`.

    The cluster is a temporary folder of the server's own user: pytest's folders are closed to others.
    """
    initdb, server = program("initdb"), program("postgres")
    if find_spec("pg8000") is None:
        pytest.skip("the driver is not installed: uv pip install pg8000")
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        cluster, port = Path(folder) / "cluster", free_port()
        command = [initdb, "--pgdata", str(cluster), "--username", "assay", "--auth", "trust", "--no-sync"]
        command += ["--encoding", "UTF8", "--locale", "C"]
        made = subprocess.run(
            [*as_somebody(), *command], cwd=folder, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stdout + made.stderr
        command = [*as_somebody(), server, "-D", str(cluster), "-h", "127.0.0.1", "-p", str(port)]
        for option in OPTIONS:
            command += ["-c", option]
        with (tmp_path / "postgres.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            _wait_until_up(port, tmp_path / "postgres.log")
            yield f"postgresql+pg8000://assay@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(START_SECONDS)


def _wait_until_up(port: int, log: Path) -> None:
    command = [program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run(command, check=False).returncode:
        if time.monotonic() > deadline:
            pytest.fail(f"PostgreSQL did not start:\n{log.read_text()}")
        time.sleep(0.1)
