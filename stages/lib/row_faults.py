"""Faults of single rows, gathered so that a person hears of all of them at once."""

from dataclasses import dataclass, field

from stages.lib.errors import InputError

SHOWN = 20
"""Faults that a message lists; the rest is counted."""


@dataclass
class RowFaults:
    """What is wrong with a table: a count, and the faults of the first rows."""

    table: str
    n: int = 0
    _found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, row: int, code: str, detail: str) -> None:
        """Enter one fault of one row."""
        self.n += 1
        self._found.append((row, f"  row {row}: {code}: {detail}"))
        if len(self._found) > 50 * SHOWN:
            self._found = sorted(self._found)[:SHOWN]

    def stop(self) -> None:
        """Raise one InputError that lists the first SHOWN and counts all, if there is anything."""
        if not self.n:
            return
        lines = [line for _, line in sorted(self._found)[:SHOWN]]
        more = [f"  … and {self.n - len(lines)} more"] if self.n > len(lines) else []
        raise InputError(
            f"{self.table}: {self.n} fault(s), nothing was read in:\n"
            + "\n".join(lines + more)
            + "\nMend these rows (in a CSV file the header is row 1) and run again"
        )


def short(value: object) -> str:
    """Show a cell in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…'"
