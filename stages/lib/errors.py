"""What can go wrong, sorted by who has to act; each kind has its own exit code."""


class AssayError(Exception):
    """A failure that a person can act on: the message names what, where, and what to do."""

    exit_code = 1


class InputError(AssayError):
    """Data or params are not as they must be. The message names file, row or key, and the remedy."""

    exit_code = 2


class MachineError(AssayError):
    """The machine lacks something: a package, a device, space, a permission."""

    exit_code = 3


class BusyError(AssayError):
    """Another process is at the same work: try again when it has ended (75 is sysexits' EX_TEMPFAIL)."""

    exit_code = 75
