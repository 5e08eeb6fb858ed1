"""SIGTERM as a request: whoever holds state asks between two steps, saves, and leaves.

A batch system, a container and DVC's own death (lib/lock.py) all send it some seconds before SIGKILL.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stages.lib.errors import AssayError


class TerminatedError(AssayError):
    """The process was asked to end, and has saved what it had."""

    exit_code = 128 + signal.SIGTERM


class Request:
    """Whether somebody asked this process to end."""

    def __init__(self) -> None:
        self.came = False


@contextmanager
def termination_request() -> Iterator[Request]:
    """Take note of SIGTERM instead of dying of it, inside the block; only the main thread can."""
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame: object) -> None:
        del number, frame
        request.came = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)
