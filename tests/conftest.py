"""No test writes into the project's own state, or starts a sender, unless it says so; one signed release."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.release_fixture import Project


LONGEST = ("test_chain.py", "test_default_run.py", "test_train.py", "test_journal_and_mirror.py")
"""Files that take minutes: begun first, so that no process is left alone with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file the order stays."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Give the shipped digits: pixels (1797, 8, 8, 1) uint8 and labels (1797,), of which none may write."""
    from stages.lib.digits import read_digits, to_8_bit

    images, labels = read_digits()
    pixels = to_8_bit(images)[..., None]
    for array in (pixels, labels):
        array.flags.writeable = False
    return pixels, labels


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path_factory.mktemp("state") / ".assay"
    monkeypatch.setenv("ASSAY_STATE", str(state))
    monkeypatch.setenv("ASSAY_TRACKING", "off")
    for name in ("DVC_STAGE", "DVC_ROOT", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return state


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """A project whose release is signed; made once, to be read only."""
    from tests.release_fixture import make_signed

    return make_signed(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def project(signed: "Project", tmp_path: Path) -> "Project":
    """A copy of it, to be changed."""
    from tests.release_fixture import copy_project

    return copy_project(signed, tmp_path / "project")
