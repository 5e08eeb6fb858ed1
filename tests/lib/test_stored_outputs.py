"""What a store's driver raises is one message; a slip of a program is not taken for a store's fault."""

import pytest

from stages.lib.errors import MachineError
from stages.lib.stored_outputs import reaching


class DriversError(Exception):
    """What asyncssh and botocore raise descends from nothing nearer than Exception."""


@pytest.mark.parametrize(
    "raised", [OSError("no route"), DriversError("no route"), ValueError("no route"), TimeoutError()]
)
def test_what_a_driver_raises_is_one_message(raised: Exception) -> None:
    with (
        pytest.raises(MachineError, match=r"^team cannot be reached, .*: (no route|TimeoutError)$"),
        reaching("team"),
    ):
        raise raised


@pytest.mark.parametrize("slip", [TypeError, AttributeError, KeyError, AssertionError])
def test_a_slip_is_no_fault_of_the_store(slip: type[Exception]) -> None:
    with pytest.raises(slip), reaching("team"):
        raise slip


def test_a_remotes_password_is_not_shown() -> None:
    with pytest.raises(MachineError) as shown, reaching("team"):
        raise DriversError("ssh://me:secret@host refused")
    assert "secret" not in str(shown.value)
