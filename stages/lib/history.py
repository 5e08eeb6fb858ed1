"""The curves of a training run: history.csv, one row an epoch, and the same numbers in the journal."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stages.lib.artifacts import write_csv
from stages.lib.followed import FOLLOWED
from stages.lib.journal import Journal

Row = Mapping[str, int | float | str]


def write_history(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows under the first one's names, without the figures of single images."""
    header = [name for name in rows[0] if not name.startswith(FOLLOWED)]
    write_csv(path, header, [[row[name] for name in header] for row in rows])


def figures_of(row: Row) -> dict[str, float]:
    """Return the losses and accuracies of one epoch."""
    names = ("train_loss", "val_loss", "val_top1_accuracy")
    return {name: float(row[name]) for name in names if name in row}


def report_to(journal: Journal) -> Callable[[Row], None]:
    """Return what the loop calls after every epoch."""

    def report(row: Row) -> None:
        numbers = {
            name: float(value)
            for name, value in row.items()
            if not isinstance(value, str) and not name.startswith(FOLLOWED)
        }
        epoch = numbers.pop("epoch")
        journal.metrics(numbers, step=int(epoch))

    return report
