"""What a stage tells the tracker, written to a local journal first: files first, tracker second.

A stage never waits for a tracking server. It appends JSON lines to its own folder in the outbox; a separate
process (`assay sync`, started in the background by the stage) sends them to MLflow as they come, and keeps
what it could not send. Clock, host and run ids live here and in the tracker only, never in an output.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from stages.lib.clone import clone_folder
from stages.lib.commit import changed_sources, head
from stages.lib.errors import naming_disk_faults
from stages.lib.provenance import Inputs, pipeline_key

EVENTS = "events.jsonl"
MAX_ARTIFACT_BYTES = 5_000_000
"""Larger outputs stay in DVC; the tracker gets what people look at."""

SHOWN = frozenset({".json", ".csv", ".html", ".png", ".svg"})


def outbox() -> Path:
    """Return the folder of journals that are not sent yet."""
    return clone_folder() / "tracking" / "outbox"


def tracking_is_on() -> bool:
    """`ASSAY_TRACKING=off` leaves no journal and starts no process."""
    return os.environ.get("ASSAY_TRACKING", "on") != "off"


@dataclass(frozen=True)
class Parent:
    """The run that others are nested in, where it is not the pipeline's: a search, say."""

    stage: str
    key: str
    name: str


@dataclass
class Journal:
    """One executed stage's journal; a silent one (no folder) records nothing."""

    folder: Path | None
    _file: IO[str] | None = field(default=None, repr=False)

    @classmethod
    def silent(cls) -> "Journal":
        """Return a journal that records nothing: for tests and for code run beside the chain."""
        return cls(None)

    @classmethod
    def start(cls, stage: str, inputs: Inputs, parent: Parent | None = None, title: str = "") -> "Journal":
        """Open a journal in the outbox, and hold a lock on it for as long as this process lives.

        title: names a run that lasts: what comes later goes on in it even when it was finished.
        """
        if not tracking_is_on():
            return cls.silent()
        folder = outbox() / f"{time.time_ns()}-{stage.replace('@', '-')}-{os.getpid()}"
        with naming_disk_faults(folder):
            folder.mkdir(parents=True)
            journal = cls(folder, (folder / EVENTS).open("a", encoding="utf-8"))
        assert journal._file is not None
        fcntl.flock(journal._file, fcntl.LOCK_EX)
        nested = {"parent": asdict(parent)} if parent else {}
        journal._append("start", _identity(stage, inputs) | nested | ({"title": title} if title else {}))
        return journal

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers of one step (an epoch)."""
        self._append("metrics", {"step": step, "values": dict(values)})

    def finish(self, values: Mapping[str, float], outputs: Iterable[Path] = ()) -> None:
        """Record the stage's final numbers and copies of the outputs that people look at."""
        if self.folder is None:
            return
        for path in outputs:
            self._copy(path)
        self._end({"status": "FINISHED", "values": dict(values)})

    def fail(self, reason: str) -> None:
        """Record that the stage stopped, and why."""
        self._end({"status": "FAILED", "reason": reason})

    def _end(self, content: Mapping[str, Any]) -> None:
        self._append("end", content)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, event: str, content: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        line = {"event": event, "time": time.time_ns() // 1_000_000, **content}
        with naming_disk_faults(Path(self._file.name)):
            self._file.write(json.dumps(line, sort_keys=True) + "\n")
            self._file.flush()

    def _copy(self, path: Path) -> None:
        assert self.folder is not None
        if path.suffix in SHOWN and path.stat().st_size <= MAX_ARTIFACT_BYTES:
            place = self.folder / "artifacts" / path.name
            with naming_disk_faults(place):
                place.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, place)


def _identity(stage: str, inputs: Inputs) -> dict[str, Any]:
    return {
        "stage": stage,
        "stage_key": inputs.key(),
        "pipeline_key": pipeline_key(),
        "command": inputs.command,
        "params": dict(inputs.params),
        "inputs": dict(inputs.digests),
        "git_commit": head(),
        "git_dirty": bool(changed_sources()),
        "experiment": os.environ.get("DVC_EXP_NAME", ""),
    }


def start_sender() -> None:
    """Start the background sender; a second one finds the first one's lock and ends at once."""
    log = clone_folder() / "tracking" / "sync.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        subprocess.Popen(
            [sys.executable, "-m", "stages.commands.sync", "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
