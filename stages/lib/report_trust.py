"""The report's part on how far to trust the model: metrics with intervals, gains, not answering, slices."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from stages.lib import charts, report_words
from stages.lib.report_trust_words import chosen_sentence, diversity_sentence
from stages.lib.scored_rows import Evaluation
from stages.lib.slices import worse_slices

Record = Mapping[str, Any]

MOST_SLICES = 10

METRICS = (
    (
        "balanced_accuracy",
        "balanced accuracy",
        "mean over classes; far below accuracy, collect rare classes",
    ),
    ("macro_f1", "macro F1", "far below balanced accuracy, a class is named too often: see precision"),
    (
        "auroc",
        "AUROC",
        "chance that a class's image outranks another; low for one class, add its images",
    ),
    ("log_loss", "log loss", "nats; above the dummy's, its probabilities are worse than none: warm them"),
    (
        "brier",
        "Brier",
        "squared error of the probabilities, 0 to 2; compare it with the dummy's",
    ),
    ("ece", "ECE", "mean gap of confidence and accuracy; an interval far above 0: do not act on confidences"),
    (
        "ece_adaptive",
        "ECE, bins of equal n",
        "the same; trust this one where most answers lie in one bin",
    ),
)
"""(key, name, what it says and what to do)."""

UNMEASURED = ("pretraining", "augmentation")
"""Ingredients that only networks trained without them can tell of."""

INGREDIENTS = {
    "ensemble": "several networks averaged instead of one",
    "tta": "several views of each test image",
    "distillation": "one small student instead of the ensemble",
    "pretraining": "features learned without labels first",
    "augmentation": "images changed at random in training",
}


def trust_part(evaluation: Evaluation) -> dict[str, Any]:
    """Return what report_trust.html.jinja shows."""
    record = evaluation.results["test"][evaluation.main]
    return {
        "more_metrics": [
            (name, record[key], record[f"{key}_ci"], meaning)
            for key, name, meaning in METRICS
            if record[key] is not None
        ],
        "topk": record["topk_accuracy"],
        "chosen_sentence": chosen_sentence(evaluation.results["chosen_on_val"]),
        "diversity_sentence": diversity_sentence(evaluation.results["diversity"]["test"], record["n"]),
        "truth_sentence": evaluation.results["story"]["wrong_labels"],
        "gain_rows": gain_rows(evaluation.results["gains"]),
        "not_measured": [name for name in UNMEASURED if name not in evaluation.results["gains"]],
        "top_k": evaluation.top_k,
        "abstention": evaluation.results["abstention"],
        "abstention_sentence": evaluation.results["story"]["abstention"],
        "risk_chart": risk_chart(evaluation),
        "robustness_charts": robustness_charts(evaluation),
        "worst_slices": slice_rows(evaluation),
        "slices_sentence": evaluation.results["story"]["slices"],
    }


def gain_rows(gains: Mapping[str, Record]) -> list[dict[str, Any]]:
    """Return one row an ingredient; a gain that is not shown to differ from 0 reads "none shown"."""
    return [
        {
            "name": name,
            "what": INGREDIENTS.get(name, ""),
            "word": f"{report_words.points(record['shown'])} points" if record["shown"] else "none shown",
            "style": "good" if record["shown"] > 0 else "bad" if record["shown"] < 0 else "soft",
            **record,
        }
        for name, record in gains.items()
    ]


def risk_chart(evaluation: Evaluation) -> Any:
    """Return errors among answered images over the share that is answered."""
    curve = np.array(evaluation.tables.curve, dtype=np.float64)
    rows = ((1, "errors", "first"), (2, "lower end", "bound"), (3, "upper end", "bound"))
    lines = [charts.Series(name, curve[:, 0], curve[:, column], style) for column, name, style in rows]
    level = report_words.percent(evaluation.confidence, 0)
    summary = (
        f"Errors among answered test images by coverage, with {level} intervals: "
        f"{curve[0, 1]:.1%} at {curve[0, 0]:.0%}, {curve[-1, 1]:.1%} at {curve[-1, 0]:.0%}"
    )
    return charts.line_chart(lines, "share answered, surest first", "share wrong", summary)


CHANGES = {
    "resolution": "share of the sides that is kept",
    "aspect": "width over height",
    "jpeg": "JPEG quality",
    "brightness": "factor on all light",
    "blur": "blur, as a share of the side",
    "shift": "shift, as a share of the side",
}


def robustness_charts(evaluation: Evaluation) -> list[tuple[str, int, Any]]:
    """Return (kind, n, chart of accuracy over strength with its interval) of each kind of change."""
    kinds: dict[str, list[tuple[Any, ...]]] = {}
    for kind, *row in evaluation.tables.robustness:
        kinds.setdefault(kind, []).append(tuple(row))
    found = []
    for kind, rows in kinds.items():
        columns = np.array(sorted(rows), dtype=np.float64)
        lines = [
            charts.Series(name, columns[:, 0], columns[:, at], style)
            for at, name, style in (
                (1, "accuracy", "first"),
                (2, "lower end", "bound"),
                (3, "upper end", "bound"),
            )
        ]
        told = ", ".join(f"{row[1]:.1%} at {row[0]:g}" for row in columns)
        summary = f"Test accuracy under {kind}: {told}"
        found.append((kind, int(columns[0, 4]), charts.line_chart(lines, CHANGES[kind], "accuracy", summary)))
    return found


def slice_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the slices nearest to being shown as worse than the rest."""
    shown = {one.values for one in worse_slices(evaluation.tables.slices, evaluation.confidence)}
    low = [one for one in evaluation.tables.slices if one.accuracy < one.rest][:MOST_SLICES]
    return [{"one": one, "worse": one.values in shown} for one in low]
