"""Real data beside the project: read where it is, never copied into it, and tests skip without it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def shared_data() -> Path:
    """Return the folder of real data: `ASSAY_SHARED_DATA`, or ../shared/data; skip the test without it."""
    folder = Path(os.environ.get("ASSAY_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: set ASSAY_SHARED_DATA")
    return folder
