"""Send what stages recorded to MLflow; what could not be sent stays in the outbox for the next time.

One process at a time does this. A stage starts it in the background (`--follow`), so that importing and
waiting for a tracker costs the chain nothing; `assay sync` runs it in the foreground.
"""

import argparse
import fcntl
import math
import os
import time
from pathlib import Path

from stages.lib.addresses import without_password
from stages.lib.artifacts import write_text
from stages.lib.clone import clone_folder
from stages.lib.errors import BusyError
from stages.lib.journal import EVENTS, outbox
from stages.lib.lock import only_one
from stages.lib.mirror import Mirror, discard
from stages.lib.state import project_root

FOLLOW_IDLE_SECONDS = 10.0
"""Stages of one run follow each other within a second or two; then the sender has nothing to wait for."""

POLL_SECONDS = 0.5
NICE = 10
"""The sender gives way to the stages."""

WAIT_SECONDS = 60.0
"""The longest that the end of `make repro` waits for the tracker."""


def waiting() -> list[Path]:
    """Return the journals in the outbox, oldest first."""
    return sorted(outbox().iterdir()) if outbox().exists() else []


def drain(mirror: Mirror) -> None:
    """Send every journal's news; discard those that ended."""
    for folder in waiting():
        orphaned = _writer_is_gone(folder)
        done = mirror.send(folder)
        if orphaned and not done:
            mirror.end_killed(folder)
        if done or orphaned:
            discard(folder)


def _writer_is_gone(folder: Path) -> bool:
    events = folder / EVENTS
    if not events.exists():
        return False
    with events.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def follow(idle_seconds: float, deadline: float = math.inf) -> None:
    """Send as stages write, until there has been nothing to do, or nobody to send to, for a while.

    A stage that goes on writing holds it up, but not beyond `deadline` (of the monotonic clock).
    """
    root = project_root()
    mirror: Mirror | None = None
    last_success = time.monotonic()
    while time.monotonic() < min(last_success + idle_seconds, deadline):
        if waiting():
            try:
                mirror = mirror or Mirror.open(root)
                drain(mirror)
                last_success = time.monotonic()
                _unreachable().unlink(missing_ok=True)
            except Exception as error:  # noqa: BLE001 (servers and drivers fail in any way; records are kept)
                write_text(_unreachable(), f"{without_password(str(error))}\n")
        time.sleep(POLL_SECONDS)


def sync(wait_seconds: float = WAIT_SECONDS, *, trust_sender: bool = False) -> int:
    """Send everything now, or wait for the sender that is at it; return how many journals remain.

    A tracker that does not answer is not waited for: what remains is sent another time. With `trust_sender`
    the background sender's word that it does not answer is enough; otherwise it is asked again from here.
    """
    deadline = time.monotonic() + wait_seconds
    while waiting() and time.monotonic() < deadline:
        try:
            with only_one(_lock_file(), "the tracking outbox"):
                follow(2 * POLL_SECONDS, deadline)
            tried = True
        except BusyError:
            time.sleep(POLL_SECONDS)
            tried = trust_sender
        if tried and _unreachable().exists():
            break
    return len(waiting())


def _unreachable() -> Path:
    """Return the note that says why the last attempt failed; it goes when one succeeds."""
    return clone_folder() / "tracking" / "unreachable.txt"


def _lock_file() -> Path:
    return clone_folder() / "tracking" / "sync.lock"


def main() -> None:
    """Run as the background sender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--follow", action="store_true", help="go on until the chain is quiet")
    idle = FOLLOW_IDLE_SECONDS if parser.parse_args().follow else 2 * POLL_SECONDS
    os.nice(NICE)
    try:
        with only_one(_lock_file(), "the tracking outbox"):
            follow(idle)
    except BusyError:
        return


if __name__ == "__main__":
    main()
