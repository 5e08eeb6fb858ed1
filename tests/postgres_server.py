"""A PostgreSQL server of the tests' own: in a folder that goes again, on a loopback port, never as root."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOOLS = ("initdb", "pg_ctl", "postgres")


def is_installed() -> bool:
    """Say whether the server's programs are on PATH."""
    return all(shutil.which(tool) for tool in TOOLS)


@contextmanager
def server() -> Iterator[str]:
    """Start it, give the URL of an empty database as Optuna takes it, and stop it."""
    # Not in pytest's own folders: those are closed to the user that the server has to run as.
    place = Path(tempfile.mkdtemp(prefix="assay-postgres-"))
    port = _free_port()
    try:
        if os.geteuid() == 0:
            os.chown(place, *_nobody())
        _run(place, "initdb", "-D", "data", "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c fsync=off"
        _run(place, "pg_ctl", "-D", "data", "-w", "-l", "server.log", "-o", options, "start")
        try:
            yield f"postgresql+pg8000://tester@127.0.0.1:{port}/postgres"
        finally:
            _run(place, "pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _nobody() -> tuple[int, int]:
    found = pwd.getpwnam("nobody")
    return found.pw_uid, found.pw_gid


def _run(place: Path, *command: str) -> None:
    """Run a tool, as nobody where this is root, which PostgreSQL refuses to be."""
    identity = {}
    if os.geteuid() == 0:
        uid, gid = _nobody()
        identity = {"user": uid, "group": gid, "extra_groups": []}
    environment = {"PATH": os.environ["PATH"], "HOME": str(place), "LC_ALL": "C"}
    with (place / "log").open("ab") as log:
        done = subprocess.run(command, cwd=place, env=environment, stdout=log, stderr=log, check=False, **identity)  # type: ignore[call-overload]
    assert done.returncode == 0, (place / "log").read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
