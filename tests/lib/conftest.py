"""Small networks on one thread, as stages run them (lib/device.py): a busy machine makes two spin."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
