"""Whether this user may write where a run writes: asked before it starts, not after an hour."""

import configparser
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from stages.lib.chain import STAGES
from stages.lib.errors import MachineError, disk_fault
from stages.lib.state import state_folder

DVC_FOLDER = Path(".dvc")
SHOWN = 10


def refuse_closed_folders() -> None:
    """Raise MachineError that names each folder in which this user may not write, with its owner."""
    faults = [
        str(disk_fault(PermissionError(errno.EACCES, ""), folder / "new file"))
        for folder in dict.fromkeys(written_folders())
        if _is_folder(folder) and not os.access(folder, os.W_OK | os.X_OK)
    ]
    if faults:
        more = f"\n  … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        listed = "\n  ".join(faults[:SHOWN])
        raise MachineError(f"nothing was run: some folders are closed to this user\n  {listed}{more}")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except PermissionError:
        return False  # what is above it is closed as well, and is named


def written_folders() -> Iterator[Path]:
    """Yield the folders that a run of the chain writes to, whether they are there or not."""
    yield Path()
    yield state_folder()
    yield from (DVC_FOLDER, DVC_FOLDER / "tmp", *cache_folders())
    yield from (Path("data"), *(Path("data") / stage for stage in STAGES))


def cache_folders() -> Iterator[Path]:
    """Yield DVC's cache, and the first level of folders in it, where objects are put."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([DVC_FOLDER / "config", DVC_FOLDER / "config.local"], encoding="utf-8")
    cache = Path(os.path.normpath(DVC_FOLDER / config.get("cache", "dir", fallback="cache")))
    yield cache
    yield from sorted((cache / "files" / "md5").glob("[0-9a-f][0-9a-f]"))
