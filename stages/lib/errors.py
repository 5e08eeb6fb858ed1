"""What can go wrong, sorted by who has to act; each kind has its own exit code."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AssayError(Exception):
    """A failure that a person can act on: the message names what, where, and what to do."""

    exit_code = 1


class InputError(AssayError):
    """Data or params are not as they must be. The message names file, row or key, and the remedy."""

    exit_code = 2


class MachineError(AssayError):
    """The machine lacks something: a package, a device, space, a permission."""

    exit_code = 3


class BusyError(AssayError):
    """Another process is at the same work: try again when it has ended (75 is sysexits' EX_TEMPFAIL)."""

    exit_code = 75


@contextmanager
def prefixed(before: str) -> Iterator[None]:
    """Put words in front of an InputError's: the section of a key, where its raiser knows the key alone."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{before}{error}") from error


FULL = {errno.ENOSPC: "no space left to write it", errno.EDQUOT: "the user's quota is used up"}
NOT_ALLOWED = {errno.EACCES: "not allowed", errno.EPERM: "not allowed", errno.EROFS: "it is read-only there"}
FAILING = {errno.EIO: "the disk failed while it was read or written"}


def disk_fault(error: OSError, path: Path) -> MachineError | None:
    """Return what a person can act on where the disk, its space or its permissions are at fault; else None.

    `path` is what was to be read or written; the message names it, and the owner of what stands in the way.
    """
    # NumPy tells of a write that was cut short in words of its own, without a number.
    number = errno.ENOSPC if error.errno is None and "written" in str(error) else error.errno
    before = "what was there before is untouched"
    if number in FULL:
        there = _nearest(path)
        free = shutil.disk_usage(there).free
        return MachineError(
            f"{path}: {FULL[number]} ({free:,} bytes are free there). Free some and run again: {before}"
        )
    if number in FAILING:
        return MachineError(f"{path}: {FAILING[number]}. Look at the machine's log, then run again: {before}")
    if number in NOT_ALLOWED:
        there = _nearest(path)
        status = there.stat()
        return MachineError(
            f"{path}: {NOT_ALLOWED[number]} for user {os.geteuid()}; {there} belongs to user "
            f"{status.st_uid}, mode {status.st_mode & 0o7777:04o}. Run as its owner, or have it given to you"
        )
    return None


@contextmanager
def naming_disk_faults(path: Path) -> Iterator[None]:
    """Say which file could not be read or written, why, and what to do, instead of a bare OSError."""
    try:
        yield
    except OSError as error:
        fault = disk_fault(error, path)
        if fault is None:
            raise
        raise fault from error


def _nearest(path: Path) -> Path:
    """Return the folder that a file is, or would be, in; the nearest one above it that is there."""
    return next((folder for folder in path.absolute().parents if folder.exists()), Path("/"))
