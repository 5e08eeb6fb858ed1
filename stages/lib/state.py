"""The one folder that is neither input nor output: checkpoints, caches, locks, and records not yet sent.

Git and DVC ignore it; it can be deleted at any time at the cost of work done again. `ASSAY_STATE` moves it.
"""

import os
from pathlib import Path

DEFAULT = ".assay"


def state_folder() -> Path:
    """Return the state folder: `ASSAY_STATE`, or `.assay` under the current folder."""
    return Path(os.environ.get("ASSAY_STATE") or DEFAULT).absolute()
