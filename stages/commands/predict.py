"""Classify files with a released model: a table for people, CSV or JSON for scripts."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Literal

from stages.lib.artifacts import csv_text, write_text
from stages.lib.bundle import NAME
from stages.lib.classifier import Answer, find_files, open_classifier, reader
from stages.lib.errors import InputError
from stages.lib.payload import files_of
from stages.lib.progress import say, track
from stages.lib.signing import own_public_key
from stages.lib.verification import digest_faults, verify

Form = Literal["table", "csv", "json"]
COLUMNS = ("file", "answer", "confidence", "best", "refused")


@contextmanager
def trusted_copy(bundle: Path, key: Path | None) -> Iterator[Path]:
    """Give a private copy of a bundle that holds what was signed: what was checked is what is loaded.

    Whoever can write to the bundle may change it between the check and the use, or cut a file that is mapped.
    """
    files = files_of(bundle, signed=True)
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        copy = Path(folder) / NAME
        copy.mkdir()
        for name, path in files.items():
            shutil.copyfile(path, copy / name, follow_symlinks=False)
        try:
            trusted_bundle(copy, key)
        except InputError as error:
            raise InputError(str(error).replace(str(copy), str(bundle))) from error
        yield copy


def trusted_bundle(bundle: Path, key: Path | None) -> None:
    """Refuse a bundle that is not what was signed, or, where no key is known, not what it says it is."""
    public = key or (own_public_key() if own_public_key().exists() else None)
    if public is None:
        files_of(bundle, signed=True)
        faults = digest_faults(bundle)
        say("signature not checked: name the public key you trust with --key")
    else:
        faults = [f"{check.name}: {check.detail}" for check in verify(bundle, public) if not check.passed]
    if faults:
        raise InputError(f"{bundle} cannot be trusted: {'; '.join(faults[:3])}")


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
