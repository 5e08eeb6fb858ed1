"""Classify files with a released model: a table for people, CSV or JSON for scripts."""

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Literal

from stages.lib.artifacts import csv_text, write_text
from stages.lib.classifier import Answer, find_files, open_classifier, reader
from stages.lib.errors import InputError
from stages.lib.progress import track
from stages.lib.trusted_bundle import trusted_copy

Form = Literal["table", "csv", "json"]
COLUMNS = ("file", "answer", "confidence", "best", "refused")


def predict(bundle: Path, paths: Sequence[Path], key: Path | None, form: Form, out: Path | None) -> int:
    """Answer every file; returns how many were refused."""
    files = find_files(paths)
    if not files:
        raise InputError("there is no file among these paths")
    with trusted_copy(bundle, key) as copy, open_classifier(copy) as classifier:
        asked = ((str(path), reader(path)) for path in files)
        answers = list(track(classifier.answers(asked), "images classified", len(files)))
    write_answers(answers, form, out)
    return sum(bool(answer.refused) for answer in answers)


def write_answers(answers: Sequence[Answer], form: Form, out: Path | None) -> None:
    """Print the answers, or write them to a file."""
    if form == "table" and out is None:
        _print_table(answers)
        return
    if form == "json":
        records = [asdict(answer) for answer in answers]
        text = json.dumps(records, indent=1, ensure_ascii=False) + "\n"
    else:
        text = csv_text(COLUMNS, [astuple(answer) for answer in answers])
    if out is not None:
        write_text(out, text)
    else:
        import typer

        typer.echo(text, nl=False)


def _print_table(answers: Sequence[Answer]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "answer", "confidence", "best guess")
    for item in answers:
        cells = (item.answer or item.refused, f"{item.confidence:.3f}" if not item.refused else "", item.best)
        table.add_row(*(Text(cell) for cell in (item.file, *cells)))
    Console().print(table)
