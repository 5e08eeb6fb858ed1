"""Programs that this one calls."""

import shutil
import sys
from pathlib import Path

from stages.lib.errors import MachineError


def dvc_command() -> str:
    """Return DVC's path: of this environment, whatever PATH says; MachineError where it is not installed."""
    beside = Path(sys.executable).with_name("dvc")
    found = str(beside) if beside.exists() else shutil.which("dvc")
    if found is None:
        raise MachineError("dvc is not installed beside this Python: run `make repro`")
    return found
