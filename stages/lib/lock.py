"""One writer: a lock that ends with its process, whatever ends it, and a child that does not outlive DVC."""

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.lib.errors import BusyError, naming_disk_faults

_PR_SET_PDEATHSIG = 1


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold an exclusive lock on `path`; BusyError names the process that has it."""
    with naming_disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BusyError(f"{what} is being written by process {holder}: wait for it, or end it") from error
        with naming_disk_faults(path):
            file.truncate(0)
            os.write(file.fileno(), str(os.getpid()).encode())  # nothing may be left to write at the end
        yield


def is_writer() -> bool:
    """Say whether this process writes files: of those that torchrun starts for one stage, the first does."""
    return os.environ.get("RANK", "0") == "0"


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends: `kill -9` of DVC must leave no writer behind."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
