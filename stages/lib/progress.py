"""Tell a person how far long work has come: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

LINE_EVERY_SECONDS = 10.0
"""In a log file a line each ten seconds shows life without drowning the rest."""


def say(text: str) -> None:
    """Print one line for the person who started the stage."""
    print(f"  {text}", file=sys.stderr, flush=True)  # noqa: T201 (this is the place that prints)


_HUSHED = ContextVar("hushed", default=False)


@contextmanager
def hushed() -> Iterator[None]:
    """Show no progress inside the block, which is one step of a longer work that shows its own."""
    before = _HUSHED.set(True)
    try:
        yield
    finally:
        _HUSHED.reset(before)


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` and show how many have passed; `total` where `items` has no length."""
    if _HUSHED.get():
        return iter(items)
    size = total if total is not None else _length(items)
    return _bar(items, label, size) if sys.stderr.isatty() else _lines(items, label, size)


def _length(items: Iterable[T]) -> int | None:
    return len(items) if isinstance(items, Sized) else None


def _bar(items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=label)


def _lines(items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    of = f" of {total}" if total is not None else ""
    told = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - told > LINE_EVERY_SECONDS:
            told = time.monotonic()
            say(f"{label}: {done}{of}")
        yield item
