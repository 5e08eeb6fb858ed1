"""Checkpoints that survive a kill at any instant: generation directories that are whole or not there.

A generation is written to `.tmp-<epoch>`, every file synced, its manifest of SHA-256 last, then renamed and
the folder synced. A reader checks every hash and falls back to the generation before. Two are kept.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from stages.lib.errors import InputError, MachineError, naming_disk_faults
from stages.lib.lock import is_writer
from stages.lib.progress import say

KEPT = 2
"""The newest, and one to fall back to."""

ABANDONED_KEPT = 2
"""Other inputs' checkpoints of the stage that may yet be resumed; older ones go when a run succeeds."""

_GENERATION = re.compile(r"epoch-\d{6}(\+\d{9})?")
"""Also in the order of their names: what was saved inside an epoch stands behind the epoch before it."""

_TENSORS, _FACTS, _MANIFEST = "tensors.safetensors", "state.json", "MANIFEST.sha256"


class CheckpointStore:
    """The checkpoints of one computation: `folder` holds its generations, `key` names its inputs.

    Of several processes at one computation all read, and one writes (lib/lock.py).
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key

    def save(
        self, epoch: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any], steps: int = 0
    ) -> None:
        """Write the generation after `epoch` epochs and `steps` of the next, then drop all but two."""
        if not is_writer():
            return
        name = f"epoch-{epoch:06d}" + (f"+{steps:09d}" if steps else "")
        content = {
            _TENSORS: save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}),
            _FACTS: json.dumps({"key": self.key, **facts}).encode(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self._drop_unfinished()
        try:
            with naming_disk_faults(self.folder / name):
                self._write(self.folder / f".tmp-{epoch}", self.folder / name, content)
        except MachineError:
            self._drop_unfinished()
            raise
        for old in self._generations()[KEPT:]:
            shutil.rmtree(old)

    def _write(self, temporary: Path, final: Path, content: Mapping[str, bytes]) -> None:
        temporary.mkdir()
        for name, data in (*content.items(), (_MANIFEST, _manifest(content).encode())):
            _write_synced(temporary / name, data)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        _sync(self.folder)

    def _drop_unfinished(self) -> None:
        for leftover in self.folder.glob(".tmp-*"):
            shutil.rmtree(leftover)

    def load_newest(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Return the newest whole generation's tensors and facts, or None; InputError if another run's."""
        for generation in self._generations():
            content = _read_verified(generation)
            if content is None:
                say(f"checkpoint {generation.name} is damaged: falling back to the one before it")
                continue
            facts = json.loads(content[_FACTS])
            if facts.pop("key") != self.key:
                raise InputError(
                    f"{generation}: this checkpoint belongs to other inputs (code, params, data "
                    f"or classes) than this run's; remove {self.folder} to start anew"
                )
            return load(content[_TENSORS]), facts
        return None

    def retire(self) -> None:
        """The run has succeeded: remove its generations, and of other inputs' all but the newest few."""
        if not is_writer():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir():
            others = [path for path in self.folder.parent.iterdir() if path.is_dir()]
            for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[ABANDONED_KEPT:]:
                shutil.rmtree(old, ignore_errors=True)

    def _generations(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if _GENERATION.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.name, reverse=True)

    def newest(self) -> Path | None:
        """Return the newest generation's folder, or None."""
        return next(iter(self._generations()), None)


def _manifest(content: Mapping[str, bytes]) -> str:
    """Return what `sha256sum` would print."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(content.items()))


def _read_verified(generation: Path) -> dict[str, bytes] | None:
    """Return the files' bytes when each has the hash that the manifest gives, else None."""
    try:
        manifest = (generation / _MANIFEST).read_text(encoding="ascii", errors="replace")
        content = {name: (generation / name).read_bytes() for name in (_TENSORS, _FACTS)}
    except FileNotFoundError:
        return None
    whole = manifest == _manifest(content)
    return content if whole else None


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
