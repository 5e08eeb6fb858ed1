"""What dvc.lock and the .dvc files record, and the stores that ought to hold it: DVC's cache, and remotes.

DVC believes names, sizes and times; everything here hashes bytes.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from stages.lib.addresses import told
from stages.lib.errors import AssayError, InputError, MachineError
from stages.lib.tree_object import MAX_BYTES

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc_data.hashfile.db import HashFileDB


WORKERS = 16
"""Objects read from a remote at once, DVC's own order of magnitude."""


SLIPS = (AssertionError, AttributeError, LookupError, NameError, TypeError)
"""Faults of programs, not of stores. Drivers raise OSError, classes of their own (asyncssh's, dvc_objects',
botocore's, which may not be installed, so that they cannot be named here), and ValueError for an address."""


@dataclass(frozen=True)
class Output:
    """One recorded file or folder. stage: who wrote it; cached: whether the cache holds it, or git."""

    stage: str
    path: Path
    oid: str
    cached: bool


@dataclass(frozen=True)
class Store:
    """A place that holds objects by their MD5."""

    name: str
    odb: "HashFileDB"

    def place(self, oid: str) -> str:
        """Return where an object lies, or would lie."""
        return self.odb.oid_to_path(oid)

    @property
    def workers(self) -> int:
        """Return how many objects are worth reading at once: far away, waiting is most of the work."""
        return 1 if self.odb.fs.protocol == "local" else WORKERS

    def digest(self, oid: str) -> str | None:
        """Hash an object's bytes; None where there is no such object."""
        try:
            with reaching(self.name), self.odb.fs.open(self.place(oid), "rb") as file:
                return md5_of(file)
        except FileNotFoundError:
            return None

    def read(self, oid: str) -> bytes:
        """Return an object's bytes; FileNotFoundError where there is none, InputError where it is huge."""
        with reaching(self.name), self.odb.fs.open(self.place(oid), "rb") as file:
            content: bytes = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(f"{self.place(oid)}: more than {MAX_BYTES} bytes, which no tree has")
        return content

    def holds(self, oid: str) -> bool:
        """Say whether the object is there, whatever its bytes."""
        with reaching(self.name):
            return bool(self.odb.fs.exists(self.place(oid)))

    def get(self, oid: str, place: Path) -> None:
        """Copy an object to a local file."""
        with reaching(self.name):
            self.odb.fs.get_file(self.place(oid), str(place))

    def put(self, oid: str, content: Path) -> None:
        """Put a local file in the object's place."""
        with reaching(self.name):
            self.odb.fs.put_file(str(content), self.place(oid))


@contextmanager
def reaching(name: str) -> Iterator[None]:
    """Turn what a store's driver raises into one message; that an object is not there passes as it is."""
    try:
        yield
    except (AssayError, FileNotFoundError, *SLIPS):
        raise
    except Exception as error:  # (what drivers of SSH, S3 and others raise has no ancestor in common)
        raise MachineError(
            f"{name} cannot be reached, or does not answer as it should: {told(error)}"
        ) from error


def md5_of(file: BinaryIO) -> str:
    """Return the MD5 of an open file's bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def open_repo() -> "Iterator[Repo]":
    """Open DVC's view of this clone; InputError where its files cannot be read."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            yield repo
    except DvcException as error:
        raise InputError(f"DVC cannot read this clone ({error}): see `assay doctor`") from error


def recorded_outputs(repo: "Repo") -> list[Output]:
    """Return what is recorded with a digest, by path."""
    root = Path(repo.root_dir)
    found = [
        Output(
            out.stage.addressing,
            Path(out.fs_path).relative_to(root),
            out.hash_info.value,
            bool(out.use_cache),
        )
        for out in repo.index.outs
        if out.hash_info and out.is_in_repo
    ]
    return sorted(found, key=lambda output: output.path)


def cache_of(repo: "Repo") -> Store:
    """Return this clone's cache."""
    return Store("cache", repo.cache.local)


def remote_of(repo: "Repo", name: str | None, *, to_read: bool = False) -> Store:
    """Return a remote by its name, or the default one; MachineError where it cannot be reached.

    A folder `to_read` from has to be there: to DVC a share that is not mounted is an empty remote.
    """
    called = f"remote {name}" if name else "the default remote"
    with reaching(called):
        store = Store(called, repo.cloud.get_remote_odb(name))
        if to_read and store.workers == 1 and not store.odb.fs.exists(store.odb.path):
            raise MachineError(f"{called} cannot be reached: {store.odb.path} is not there; is it mounted?")
        return store
