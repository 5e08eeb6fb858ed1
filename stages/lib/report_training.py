"""The report's account of training: checks before it, and the curves of every run."""

from typing import Any

import numpy as np

from stages.lib import charts, report_words
from stages.lib.pictures import picture_uri
from stages.lib.prior_findings import Curve, Findings, InsideFound

LAYERS = {
    "size": "Size of maps (root mean square) by layer.",
    "dead": "Share of channels that say the same of every image, by layer.",
}


def training_part(findings: Findings) -> dict[str, Any]:
    """Return the preflight checks and the curves of every run."""
    return {
        "preflight": findings.preflight,
        "checks_failed": [row for row in findings.preflight["checks"] if not row["passed"]],
        "checks_passed": [row for row in findings.preflight["checks"] if row["passed"]],
        "batch_uri": picture_uri(findings.batch_png),
        "rates_chart": rates_chart(findings),
        "suggested_rate": findings.suggested_rate,
        "inside_run": findings.inside.run,
        "filters_uri": picture_uri(findings.inside.filters_png),
        "inside_charts": inside_charts(findings.inside),
        "curve_charts": [
            {"run": curve.run, "charts": drawn} for curve in findings.curves if (drawn := curve_charts(curve))
        ],
    }


def rates_chart(findings: Findings) -> Any:
    """Return the loss over the powers of ten of the learning rate, as far as the range test went."""
    rates = np.log10([float(row["learning_rate"]) for row in findings.rates])
    losses = np.array([float(row["loss"]) for row in findings.rates])
    told = f"Learning-rate range test from 1e{rates[0]:.0f} on; it suggests {findings.suggested_rate:.2g}."
    line = charts.Series("loss", rates, losses, "first")
    return charts.line_chart([line], "learning rate, as a power of ten", "loss", told)


def inside_charts(inside: InsideFound) -> list[Any]:
    """Return the sizes of the maps from layer to layer, and the followed val images, where there are any."""
    found = []
    for column, style, label in (("size", "first", "size of maps"), ("dead", "second", "dead channels")):
        values = np.array([float(row[column]) for row in inside.activations])
        if len(values):
            told = f"{inside.run}: {label} from the first layer to the last; at most {values.max():.3g}."
            line = charts.Series(label, np.arange(1.0, len(values) + 1), values, style)
            found.append((charts.line_chart([line], "layer", label, told), LAYERS[column]))
    lines = [_followed(inside, sample_id) for sample_id in {row["sample_id"]: 0 for row in inside.followed}]
    if lines:
        ends = float(np.mean([line.y[-1] for line in lines]))
        told = f"{inside.run}: {len(lines)} val images; in the end their labels get {ends:.0%} on average."
        caption = f"{report_words.plural(len(lines), 'val image')} through the epochs."
        found.append((charts.line_chart(lines, "epoch", "probability of the label", told), caption))
    return found


def _followed(inside: InsideFound, sample_id: str) -> charts.Series:
    rows = [row for row in inside.followed if row["sample_id"] == sample_id]
    epochs = np.array([float(row["epoch"]) for row in rows])
    return charts.Series(sample_id, epochs, np.array([float(row["prob_of_label"]) for row in rows]), "second")


def curve_charts(curve: Curve) -> list[Any]:
    """Return the charts of loss, accuracy and regularisation of one run, whichever it has columns for."""
    wanted = (
        ("loss", (("train_loss", "first"), ("val_loss", "second"))),
        ("accuracy on val", (("val_top1_accuracy", "second"),)),
        ("regularisation loss", (("regularisation_loss", "first"),)),
    )
    found = []
    for label, columns in wanted:
        kept = [
            (name, style) for name, style in columns if np.isfinite(curve.columns.get(name, np.nan)).any()
        ]
        if kept:
            epochs = np.arange(1, len(curve.columns[kept[0][0]]) + 1, dtype=np.float64)
            lines = [charts.Series(name, epochs, curve.columns[name], style) for name, style in kept]
            last = ", ".join(f"{line.name} ends at {line.y[np.isfinite(line.y)][-1]:.3g}" for line in lines)
            chart = charts.line_chart(lines, "epoch", label, f"{curve.run}: {label} over epochs; {last}.")
            found.append((chart, f"{label.capitalize()}: {last}."))
    return found
