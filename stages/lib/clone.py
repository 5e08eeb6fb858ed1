"""What belongs to one clone alone, though several share a state folder (`ASSAY_STATE`)."""

import hashlib
import os
from pathlib import Path

from stages.lib.state import project_root, state_folder


def clone_folder() -> Path:
    """Return the part of the state folder that is this clone's: all of it, where it lies inside the clone."""
    state, root = state_folder(), project_root().resolve()
    if state.resolve().is_relative_to(root):
        return state
    return state / "clones" / hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
