"""Real servers on loopback for DVC remotes, OpenSSH's and one that speaks S3; skipped where there is none."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.postgres_server import free_port

START_SECONDS = 60.0


@dataclass(frozen=True)
class Remote:
    """Where a DVC remote is, and what DVC has to be told to reach it."""

    url: str
    options: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@contextmanager
def running(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """Run a server until the block ends; it has to listen within a minute."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        else:
            pytest.fail(f"{command[0]} did not start:\n{log.read_text()}")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def folder_remote(folder: Path) -> Iterator[Remote]:
    """A folder, as on a share that everybody mounts."""
    yield Remote(str(folder / "store"))


@contextmanager
def ssh_remote(folder: Path) -> Iterator[Remote]:
    """A folder behind OpenSSH's server, reached with a key."""
    sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
    if sshd is None:
        pytest.skip("OpenSSH's server is not installed: apt-get install openssh-server")
    if find_spec("dvc_ssh") is None:
        pytest.skip("DVC's SSH plugin is not installed: uv pip install dvc-ssh")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd asks for it, and a container starts no service
    port = free_port()
    lines = [f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder / 'host'}", "PidFile none"]
    lines += [f"AuthorizedKeysFile {folder / 'user.pub'}", "StrictModes no", "UsePAM no"]
    lines += ["PasswordAuthentication no", "Subsystem sftp internal-sftp"]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    command = [sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
    with running(command, port, folder / "sshd.log"):
        url = f"ssh://127.0.0.1:{port}{folder / 'store'}"
        yield Remote(url, {"user": getpass.getuser(), "keyfile": str(folder / "user")})


@contextmanager
def s3_remote(folder: Path) -> Iterator[Remote]:
    """A bucket behind moto's server, which speaks S3 over HTTP."""
    for module, package in (("moto", "moto"), ("dvc_s3", "dvc-s3")):
        if find_spec(module) is None:
            pytest.skip(f"an S3 server and DVC's S3 plugin are not installed: uv pip install {package}")
    port = free_port()
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "us-east-1"}
    with running([sys.executable, "-c", code], port, folder / "moto.log"):
        endpoint = f"http://127.0.0.1:{port}"
        made = "import boto3 as b, sys; b.client('s3', endpoint_url=sys.argv[1]).create_bucket(Bucket='team')"
        subprocess.run([sys.executable, "-c", made, endpoint], env=os.environ | keys, check=True)
        yield Remote("s3://team/store", {"endpointurl": endpoint}, keys)


SERVERS = {"folder": folder_remote, "ssh": ssh_remote, "s3": s3_remote}
