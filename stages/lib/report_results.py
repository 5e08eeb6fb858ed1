"""The report's verdict and results: the headline, every prediction with its interval, and the comparisons."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.lib import charts, metrics, report_words
from stages.lib.prior_findings import Findings
from stages.lib.scored_rows import Evaluation, MainRows

QUESTIONS = (
    ("baseline", "Is the ensemble better than what needs no network?"),
    ("ingredient", "Does an ingredient help: ensemble, augmentation at test time (tta), distillation?"),
)

Record = Mapping[str, Any]


def verdict_part(
    evaluation: Evaluation, rows: MainRows, counts: np.ndarray, findings: Findings
) -> dict[str, Any]:
    """Return the headline, what it is held against, and what to do next."""
    told = evaluation.results["story"]
    record = evaluation.results["test"][evaluation.main]
    worst = worst_class(evaluation.truth.classes, counts)
    return {
        "main": evaluation.main,
        "main_record": record,
        "level": report_words.percent(evaluation.confidence, 0),
        "headline": told["headline"],
        "compared": told["compared"],
        "seeds_sentence": told["seeds"],
        "people": told["people"],
        "advice": report_words.advice(record, float(rows.pred_probs.max(axis=1).mean()), worst, findings),
    }


def worst_class(classes: Sequence[str], counts: np.ndarray) -> tuple[str, metrics.ClassScore] | None:
    """Return the class of the lowest recall and its score; None where every class is perfect."""
    scores = [pair for pair in zip(classes, metrics.per_class(counts), strict=True) if pair[1].n]
    name, score = min(scores, key=lambda pair: (pair[1].correct / pair[1].n, -pair[1].n))
    return None if score.correct == score.n else (name, score)


def results_part(evaluation: Evaluation) -> dict[str, Any]:
    """Return the table of all predictions with their intervals on one axis, and the comparisons."""
    test, val = evaluation.results["test"], evaluation.results["val"]
    names = report_words.in_order(list(test))
    low, high = axis_of(test)
    return {
        "confidence": evaluation.confidence,
        "draws": evaluation.draws,
        "ece_bins": evaluation.ece_bins,
        "results": [
            {
                "name": name,
                "what": report_words.describe(name),
                "test": test[name],
                "val": val.get(name),
                "place": _place(test[name], low, high),
            }
            for name in names
        ],
        "axis": [
            (report_words.percent(value, 0 if high - low > 0.05 else 1), 100 * (value - low) / (high - low))
            for value in charts.ticks(low, high)
        ],
        "questions": [(title, comparison_rows(evaluation, question)) for question, title in QUESTIONS],
    }


def comparison_rows(evaluation: Evaluation, question: str) -> list[dict[str, Any]]:
    """Return the comparisons that answer one question, each with its verdict in words."""
    return [
        {
            "name": name.replace("_minus_", " \u2212 "),
            "word": report_words.comparison_word(record, evaluation.confidence),
            **record,
        }
        for name, record in evaluation.results["comparisons"].items()
        if evaluation.questions[name] == question
    ]


def axis_of(test: Mapping[str, Record]) -> tuple[float, float]:
    """Return the range of accuracies to draw: all that look at the image; blind ones may lie off the axis."""
    seeing = [record for name, record in test.items() if not name.startswith("dummy")] or list(test.values())
    lows, highs = zip(*(record["top1_accuracy_ci"] for record in seeing), strict=True)
    margin = 0.05 * (max(highs) - min(lows)) or 0.01
    return max(0.0, min(lows) - margin), min(1.0, max(highs) + margin)


def _place(record: Record, low: float, high: float) -> dict[str, float] | None:
    ends = [record["top1_accuracy_ci"][0], record["top1_accuracy"], record["top1_accuracy_ci"][1]]
    if ends[2] < low:
        return None
    start, middle, end = (100 * min(max((value - low) / (high - low), 0.0), 1.0) for value in ends)
    return {"start": start, "middle": middle, "end": end}
