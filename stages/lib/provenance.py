"""Name a computation by what went into it: a stage's key is a hash of its command, params and input digests.

The same key follows from `dvc.lock` (`key_of_lock_entry`) and from inside the running stage
(`inputs_of_running`), so that a tracked run can be found from the lock file and back.
"""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.errors import InputError
from stages.lib.yaml_file import read_yaml

DVC_FILE = Path("dvc.yaml")
LOCK_FILE = Path("dvc.lock")
KEY_LENGTH = 32
"""Hex digits of a key: 128 bits, beyond accidental collision."""

_UNVERSIONED = {".gitignore", ".DS_Store", "Thumbs.db", "__pycache__"}
"""Names that .dvcignore lists: no data."""


@dataclass(frozen=True)
class Inputs:
    """What a stage computes from: command line, leaf params by dotted name, digests (MD5, DVC's) by path."""

    command: str
    params: Mapping[str, Any]
    digests: Mapping[str, str]

    def key(self) -> str:
        """Return the stage key."""
        canonical = json.dumps([self.command, dict(self.params), dict(self.digests)], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_LENGTH]


def key_of_lock_entry(entry: Mapping[str, Any]) -> str:
    """Return the stage key of one entry under `stages:` in dvc.lock."""
    params = {name: value for group in entry.get("params", {}).values() for name, value in group.items()}
    return Inputs(entry["cmd"], params, {dep["path"]: dep["md5"] for dep in entry.get("deps", [])}).key()


def running_stage_name(module: str) -> str:
    """Return the name DVC gave (`train@0`), or the module's where a person started the stage by hand."""
    return os.environ.get("DVC_STAGE") or module


def inputs_of_running(module: str, params: Mapping[str, Any]) -> Inputs:
    """Describe the stage that runs in this process, from dvc.yaml and the upstream digests in dvc.lock."""
    # torchrun adds -u; the computation is the same with and without it.
    command = shlex.join(["python", *(word for word in sys.orig_argv[1:] if word != "-u")])
    stage = _yaml_map(DVC_FILE).get("stages", {}).get(module, {})
    leaves = {name: _leaf(params, name) for name in stage.get("params", [])}
    known = _locked_outputs()
    digests = {path: known.get(path) or digest(Path(path)) for path in stage.get("deps", [])}
    return Inputs(command, leaves, digests)


def _yaml_map(path: Path) -> dict[str, Any]:
    value = read_yaml(path) if path.exists() else {}
    return value if isinstance(value, dict) else {}


def _leaf(params: Mapping[str, Any], dotted: str) -> Any:
    value: Any = params
    for part in dotted.split("."):
        value = value[part]
    return value


def _locked_outputs() -> dict[str, str]:
    stages = _yaml_map(LOCK_FILE).get("stages", {}).values()
    return {out["path"]: out["md5"] for entry in stages for out in entry.get("outs", [])}


def digest(path: Path) -> str:
    """Return DVC's digest of a file (MD5) or of a folder (MD5 of its sorted listing, with `.dir`).

    InputError if there is neither.
    """
    if not path.exists():
        raise InputError(f"{path} is not there: `make repro` runs the stages that write it")
    if not path.is_dir():
        return _md5_of_file(path)
    listing = [
        {"md5": _md5_of_file(file), "relpath": file.relative_to(path).as_posix()} for file in _files(path)
    ]
    text = json.dumps(sorted(listing, key=lambda item: item["relpath"]), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _files(folder: Path) -> Iterable[Path]:
    for path in folder.rglob("*"):
        unversioned = path.name in _UNVERSIONED or path.suffix == ".pyc"
        if path.is_file() and not unversioned and path.as_posix() != "data/raw/README.md":
            yield path


def _md5_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def pipeline_key() -> str:
    """Name the state of the whole pipeline: params, wiring, code, and the pointers to raw data."""
    files = [Path("params.yaml"), DVC_FILE, *Path("stages").rglob("*.py"), *Path("data/raw").glob("*.dvc")]
    digests = {path.as_posix(): _md5_of_file(path) for path in files if path.is_file()}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]
