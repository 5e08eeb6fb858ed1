"""Show the last evaluation in a terminal: every prediction with interval and n, and what the report says."""

from pathlib import Path
from typing import Any

from stages.commands.costs import show as show_costs
from stages.lib.artifacts import read_json
from stages.lib.errors import InputError
from stages.lib.looks import committed, noted, sentence
from stages.lib.report_words import in_order, percent, span
from stages.lib.story import sentences


def summary(evaluate: Path) -> None:
    """Print the results in the folder `evaluate`; InputError when there are none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    path = evaluate / "metrics.json"
    if not path.exists():
        raise InputError(f"{path} is missing: nothing has been evaluated yet, run `make repro`")
    results = read_json(path)
    table = Table(title="Test accuracy", title_justify="left", title_style="bold")
    table.add_column("prediction")
    for heading in ("accuracy", "interval", "n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows(results["test"]):
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    console.print(table)
    # Plain text: neither a class name nor a path is markup.
    for told in sentences(results.get("story", {})):
        console.print(f"- {told}", markup=False, highlight=False)
    show_costs(evaluate.parent)
    for line in closing_lines(results, evaluate):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def rows(scores: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (name, accuracy, interval, n) of every prediction, from blind guess to student."""
    return [
        (
            name,
            percent(scores[name]["top1_accuracy"]),
            span(scores[name]["top1_accuracy_ci"]),
            f"{scores[name]['n']:,}",
        )
        for name in in_order(list(scores))
    ]


def closing_lines(results: dict[str, Any], evaluate: Path) -> list[str]:
    """Return what stands below the story: looks at test, and where to read on."""
    looked = looks_sentence(results, evaluate / "metrics.json")
    paths = [f"report   {evaluate / 'report.html'}", f"metrics  {evaluate / 'metrics.json'}"]
    return [line for line in (looked, *paths) if line]


def looks_sentence(results: dict[str, Any], metrics: Path) -> str:
    """Return how often this test set was scored, as this clone and its history know."""
    test_set = results.get("test_set")
    if test_set is None:
        return ""
    seen = noted(test_set["digest"]) | committed(test_set["digest"], metrics) | {test_set["scored"]}
    best = max(record["top1_accuracy"] for record in results["test"].values())
    return sentence(len(seen), test_set, best)
