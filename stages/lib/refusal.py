"""A refusal: why one item of the user's data is not used, in a word to count by and a sentence to act on."""

from dataclasses import dataclass


class RefusalError(Exception):
    """One item cannot be trusted; the run goes on without it.

    `reason` is a fixed code (`truncated`, `too_small`, …) that tables and tests count by; `detail` says in
    plain words what was seen and what to do about it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Quarantined:
    """One line of quarantine.csv: a file (or row) that was seen and not used; its bytes stay in place."""

    file: str
    reason: str
    detail: str
    sha256: str = ""
    row: int | None = None
