"""The one folder that is neither input nor output: checkpoints, caches, locks, and records not yet sent.

Git and DVC ignore it; it can be deleted at any time at the cost of work done again. `ASSAY_STATE` moves
it. An experiment that DVC runs in a temporary copy (`dvc exp run --temp`) uses the folder of the repository
it came from, so that its records and checkpoints outlive the copy.
"""

import os
from pathlib import Path

DEFAULT = ".assay"


def project_root() -> Path:
    """Return the repository's root, also from inside DVC's temporary copy of it."""
    return Path(os.environ.get("DVC_ROOT") or ".").absolute()


def state_folder() -> Path:
    """Return the state folder: `ASSAY_STATE`, or `.assay` in the repository's root."""
    chosen = os.environ.get("ASSAY_STATE")
    return Path(chosen).absolute() if chosen else project_root() / DEFAULT
