"""Where a search keeps its trials: a file beside the checkpoints, or PostgreSQL for several machines.

Optuna's storage, quiet, and one thing that it lacks: a lock that all workers of a database share, so that
one at a time decides which trial comes next.
"""

import fcntl
import os
import re
import secrets
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib.addresses import told
from stages.lib.artifacts import write_text
from stages.lib.errors import AssayError, InputError, MachineError
from stages.lib.state import state_folder
from stages.lib.tune_params import POSTGRESQL

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import Engine

VARIABLE = "ASSAY_TUNE_STORAGE"

HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 180
"""A worker elsewhere that has not been heard of for so long is taken for dead: six beats missed."""

LOCK_NUMBER = 0x617373617974756E
"""The number of PostgreSQL's advisory lock: the letters `assaytun`."""

BUSY_SECONDS = 60
"""How long SQLite waits for another process's write before it gives up."""


_PARTS = re.compile(r"((?P<user>[^:/?@]*)(:[^/?@]*)?@)?(?P<place>[^:/?@]*(:\d+)?(/[^:/?@]*)?)(\?[^@]*)?")
"""A URL in which no sign leaves open where the password ends; of any other nothing is shown."""


def folder() -> Path:
    """Return where searches live on this machine."""
    return state_folder() / "tune"


def storage_url(param: str) -> str:
    """Return the URL of the storage: of ASSAY_TUNE_STORAGE, else of tune.storage, else of a file here."""
    url = os.environ.get(VARIABLE) or param
    if not url:
        return f"sqlite:///{folder() / 'studies.db'}"
    if not url.startswith(POSTGRESQL):
        raise InputError(f"{VARIABLE}: expected {POSTGRESQL}user:password@host/database")
    return url


def shown(url: str) -> str:
    """Return the URL without its password and its options, which may hold one."""
    if not url.startswith(POSTGRESQL):
        return url
    found = _PARTS.fullmatch(url.removeprefix(POSTGRESQL))
    if found is None:
        return f"{POSTGRESQL}…"
    user = f"{found['user']}@" if found["user"] else ""
    return f"{POSTGRESQL}{user}{found['place']}"


@dataclass(frozen=True)
class Storage:
    """An open storage, and the lock that its workers share."""

    url: str
    optuna: "RDBStorage"

    @classmethod
    def open(cls, url: str) -> "Storage":
        """Connect, and make the tables on first use; InputError of what is no URL, else MachineError."""
        _check_form(url)
        with lost_storage(url), turn(url):
            return cls(url, _optuna_storage(url))

    def turn(self) -> AbstractContextManager[None]:
        """Hold what only one worker may do at a time."""
        return turn(self.url)


def _check_form(url: str) -> None:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(url)
    except (ValueError, ArgumentError):
        # Not chained, and no part of the URL is told: what failed to parse may be a piece of the password.
        raise InputError(
            f"tune.storage or {VARIABLE}: no URL of the form {POSTGRESQL}user:password@host:port/database, "
            "the port a number; in a password write @ as %40, / as %2F and : as %3A"
        ) from None


def _optuna_storage(url: str) -> "RDBStorage":
    import optuna
    from optuna.exceptions import ExperimentalWarning

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Workers of one machine write to one file: they wait for each other, rather than fail.
    arguments: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS}}
    if url.startswith(POSTGRESQL):
        arguments = {"pool_pre_ping": True}  # a trial may outlast a firewall's patience
        if find_spec("pg8000") is None:
            raise MachineError("a PostgreSQL storage needs its driver: uv pip install pg8000")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats
        storage = optuna.storages.RDBStorage(
            url,
            engine_kwargs=arguments,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
        )
    if not url.startswith(POSTGRESQL):
        _write_ahead(storage.engine)
    return storage


def _write_ahead(engine: "Engine") -> None:
    """Let readers and one writer work at a time, without a sync a write (a tenth of the time)."""
    with engine.connect() as connection:
        connection.exec_driver_sql("pragma journal_mode = wal")
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def relax(connection: Any, record: object) -> None:
        del record
        connection.execute("pragma synchronous = normal")

    engine.dispose()  # connections that were opened before the listener


@contextmanager
def turn(url: str) -> Iterator[None]:
    """Hold the lock of all who work at this storage; it ends with its process or its connection."""
    if url.startswith(POSTGRESQL):
        with _database_turn(url):
            yield
        return
    path = Path(url.removeprefix("sqlite:///")).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _database_turn(url: str) -> Iterator[None]:
    from sqlalchemy import NullPool, create_engine, text

    with create_engine(url, poolclass=NullPool).connect() as connection:
        connection.execute(text("select pg_advisory_lock(:number)"), {"number": LOCK_NUMBER})
        try:
            yield
        finally:
            connection.execute(text("select pg_advisory_unlock(:number)"), {"number": LOCK_NUMBER})


def storage_name(url: str) -> str:
    """Return what tells this storage from other people's: the records of a search are shared as it is.

    A file has a random name, made on first use; a database is for all who were given its address.
    """
    if url.startswith(POSTGRESQL):
        return "a database"
    path = folder() / ".storage"
    with turn(url):
        if not path.exists():
            write_text(path, f"{secrets.token_hex(8)}\n")
    return path.read_text(encoding="utf-8").strip()


@contextmanager
def lost_storage(url: str) -> Iterator[None]:
    """Say in one sentence that the storage does not answer, whatever the driver calls it."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except AssayError:
        raise
    except (StorageInternalError, DBAPIError) as error:
        cause = error.__cause__ or error
        reason = told(getattr(cause, "orig", None) or cause).rstrip(".")
        raise MachineError(
            f"tune.storage {shown(url)}: {reason}. Nothing that was finished is lost; run it again when "
            "the storage answers"
        ) from error
