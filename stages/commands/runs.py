"""From dvc.lock to MLflow and back: each locked stage, its key, and the run that computed it."""

import sys
from pathlib import Path

from stages.lib.errors import InputError
from stages.lib.mirror import Mirror
from stages.lib.provenance import LOCK_FILE, key_of_lock_entry
from stages.lib.state import project_root
from stages.lib.yaml_file import read_yaml

UNCUT = 120
"""Columns that the table needs: in a pipe nothing may be cut."""


def locked_keys(lock_file: Path = LOCK_FILE) -> dict[str, str]:
    """Return the stage key of every stage in the lock file, by DVC's name of the stage."""
    if not lock_file.exists():
        raise InputError(f"{lock_file} is not there: `make repro` writes it")
    return {name: key_of_lock_entry(entry) for name, entry in read_yaml(lock_file)["stages"].items()}


def runs() -> None:
    """Print a table: stage, stage key, run id; a stage restored from a cache has no run on this tracker."""
    from rich.console import Console
    from rich.table import Column, Table

    keys = locked_keys()
    mirror = Mirror.open(project_root())
    table = Table("stage", *(Column(name, no_wrap=True) for name in ("assay.stage_key", "MLflow run")))
    for stage, key in keys.items():
        found = mirror.find(stage, key)
        table.add_row(stage, key, found[0].info.run_id if found else "none on this tracker")
    Console(width=None if sys.stdout.isatty() else UNCUT).print(table)
