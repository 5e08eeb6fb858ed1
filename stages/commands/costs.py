"""Time the networks on this machine and set what they cost beside what they are worth."""

import re
from pathlib import Path
from typing import Any

from stages.lib.artifacts import read_json
from stages.lib.errors import InputError
from stages.lib.inference_cost import BATCHES, keep, kept, measure
from stages.lib.progress import track
from stages.lib.report_words import percent

MODEL = "model.safetensors"
MEMBER = re.compile(r"seed(\d{1,9})")

HEADINGS = (
    "network",
    "right",
    "params",
    "MFLOPs",
    *(f"{runtime} {batch}" for runtime in ("torch", "onnx") for batch in BATCHES),
)


def networks(data: Path) -> dict[str, dict[str, Path]]:
    """Return the weights of one member, of the ensemble and of the student, by the names of predictions.

    Empty before anything was trained.
    """
    seeds = [int(found[1]) for path in (data / "train").glob("*") if (found := MEMBER.fullmatch(path.name))]
    members = {f"seed{seed}": data / "train" / f"seed{seed}" / MODEL for seed in sorted(seeds)}
    listed = {name: {name: path} for name, path in list(members.items())[:1]}
    listed |= {"ensemble": members} if members else {}
    listed |= {"student": {"student": data / "distill" / MODEL}}
    return {name: files for name, files in listed.items() if all(path.is_file() for path in files.values())}


def costs(data: Path) -> None:
    """Time each of them, keep the figures, and print the table; InputError before anything was trained."""
    found = networks(data)
    if not found:
        raise InputError(
            f"{data / 'train'} holds no networks: nothing has been trained yet, run `make repro`"
        )
    classes = read_json(data / "split" / "classes.json")
    for files in track(list(found.values()), "networks timed"):
        keep(files, measure(files, classes))
    show(data)


def show(data: Path) -> None:
    """Print what is known of the current networks; nothing where they were not timed on this machine."""
    from rich.console import Console
    from rich.table import Table

    rows = cost_rows(data)
    if not rows:
        return
    table = Table(
        padding=(0, 0),
        title="Milliseconds for 1 and 64 images on one core of this machine",
        title_justify="left",
        title_style="bold",
    )
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def cost_rows(data: Path) -> list[tuple[str, ...]]:
    """Return a row of HEADINGS for each network that was timed with its current weights."""
    path = data / "evaluate" / "metrics.json"
    scores = read_json(path)["test"] if path.is_file() else {}
    known = [(name, kept(files)) for name, files in networks(data).items()]
    return [row_of(name, record, scores.get(name)) for name, record in known if record is not None]


def row_of(name: str, record: dict[str, Any], score: dict[str, Any] | None) -> tuple[str, ...]:
    """Return one row of the table."""
    worth = "–" if score is None else percent(score["top1_accuracy"])
    times = [record["ms"][runtime][str(batch)] for runtime in ("torch", "onnx") for batch in BATCHES]
    counts = f"{record['n_parameters']:,}", f"{record['flops_per_image'] / 1e6:.1f}"
    return name, worth, *counts, *(f"{time:.2f}" for time in times)
