"""The tables that `evaluate` leaves beside metrics.json: what `dvc plots` draws, and what people sort."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.lib import abstention, gains, metrics, robustness_table, slices
from stages.lib.artifacts import write_csv
from stages.lib.scored_rows import Tables
from stages.lib.scores import part
from stages.lib.truth import Entry, Truth


def write_tables(tables: Tables, results: Mapping[str, Any], out: Path) -> None:
    """Write classes.csv, risk_coverage.csv, slices.csv, robustness.csv, gains.csv."""
    header = ("class", "n", "n_predicted", "recall", "recall_low", "recall_high", "precision", "f1")
    write_csv(out / "classes.csv", header, [class_row(*item) for item in tables.classes.items()])
    write_csv(out / "risk_coverage.csv", abstention.COLUMNS, tables.curve)
    write_csv(out / "slices.csv", slices.COLUMNS, [one.row() for one in tables.slices])
    write_csv(out / "robustness.csv", robustness_table.COLUMNS, tables.robustness)
    keys = ("difference", "p_value_holm", "n", "shown", "cost")
    records = [
        (name, record["difference"], *record["ci"], *(record[key] for key in keys[1:]))
        for name, record in results["gains"].items()
    ]
    write_csv(out / "gains.csv", gains.COLUMNS, records)


def class_row(name: str, record: Mapping[str, Any]) -> tuple[object, ...]:
    """Return a row of classes.csv; a cell is empty where there is nothing to divide by."""
    low, high = record["recall_ci"] or ("", "")
    shares = ("" if record[key] is None else record[key] for key in ("recall", "precision", "f1"))
    recall, precision, f1 = shares
    return name, record["n"], record["n_predicted"], recall, low, high, precision, f1


def write_plots(truth: Truth, entry: Entry, scores: Mapping[str, Any], n_bins: int, out: Path) -> None:
    """Write the tables that `dvc plots` draws: confusion.csv, calibration.csv, accuracy.csv, all of test."""
    pred_probs, labels, _ = part(truth, entry, "test")
    predicted = metrics.top1(pred_probs)
    pairs = zip(labels.tolist(), predicted.tolist(), strict=True)
    named = [(truth.classes[actual], truth.classes[said]) for actual, said in pairs]
    write_csv(out / "confusion.csv", ("actual", "predicted"), named)
    bins = metrics.calibration_table(pred_probs, labels, n_bins)
    write_csv(
        out / "calibration.csv",
        ("confidence", "accuracy", "n", "lower", "upper"),
        [(row.confidence, row.accuracy, row.n, row.lower, row.upper) for row in bins],
    )
    write_csv(
        out / "accuracy.csv",
        ("name", "top1_accuracy", "ci_low", "ci_high", "n"),
        [
            (name, record["top1_accuracy"], *record["top1_accuracy_ci"], record["n"])
            for name, record in scores.items()
        ],
    )
