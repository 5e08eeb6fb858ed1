"""The report's account of training: checks before it, and the curves of every run."""

from typing import Any

import numpy as np

from stages.lib import charts
from stages.lib.pictures import png_uri
from stages.lib.prior_findings import Curve, Findings


def training_part(findings: Findings) -> dict[str, Any]:
    """Return the preflight checks and the curves of every run."""
    return {
        "preflight": findings.preflight,
        "batch_uri": png_uri(findings.batch_png),
        "curve_charts": [
            {"run": curve.run, "charts": drawn} for curve in findings.curves if (drawn := curve_charts(curve))
        ],
    }


def curve_charts(curve: Curve) -> list[Any]:
    """Return the loss chart and the accuracy chart of one run, whichever it has columns for."""
    wanted = (
        ("loss", (("train_loss", "first"), ("val_loss", "second"))),
        ("accuracy on val", (("val_top1_accuracy", "second"),)),
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
            found.append(
                charts.line_chart(lines, "epoch", label, f"{curve.run}: {label} over epochs; {last}.")
            )
    return found
