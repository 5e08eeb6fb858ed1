from collections.abc import Mapping
from pathlib import Path

from stages.lib.artifacts import read_csv
from stages.lib.history import figures_of, report_to, write_history
from stages.lib.journal import Journal

ROWS = [
    {"epoch": 1, "phase": "head", "learning_rate": 0.1, "train_loss": 2.0},
    {"epoch": 2, "phase": "all", "learning_rate": 0.2, "train_loss": 1.0},
]


def test_history_is_written_a_row_an_epoch(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", ROWS)
    assert read_csv(tmp_path / "history.csv")[1] == {
        "epoch": "2",
        "phase": "all",
        "learning_rate": "0.2",
        "train_loss": "1.0",
    }


def test_an_epochs_figures_are_those_there_are() -> None:
    assert figures_of(ROWS[-1]) == {"train_loss": 1.0}


def test_the_journal_gets_numbers_at_their_epoch() -> None:
    told: list[object] = []

    class Listening(Journal):
        def metrics(self, values: Mapping[str, float], step: int) -> None:
            told.append((values, step))

    report_to(Listening.silent())(ROWS[1])
    assert told == [({"learning_rate": 0.2, "train_loss": 1.0}, 2)]
