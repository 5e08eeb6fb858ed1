"""report.html: one self-contained page that says what the model is worth, and shows what every stage found.

No script at all: charts are inline SVG with tooltips, pictures are data URIs, and the page's own policy
(Content-Security-Policy) forbids everything else: a hostile class or file name could not act even if escaping
failed. Text passes jinja2 with autoescape. The same artifacts give the same bytes: no clock, no path.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib import charts, metrics, report_words
from stages.lib.intervals import accuracy_interval
from stages.lib.pictures import Picture, pictures, png_uri
from stages.lib.prior_findings import Curve, Findings, Folders, Suspect, read_findings
from stages.lib.report_leaks import leak_part
from stages.lib.truth import Entry, Truth

QUESTIONS = (
    ("baseline", "Is the ensemble better than what needs no network?"),
    ("ingredient", "Does an ingredient help: ensemble, augmentation at test time (tta), distillation?"),
)

TEMPLATE = "report.html.jinja"
STYLESHEET = "report.css.jinja"

MOST_PICTURES = 24
"""Pictures on a contact sheet: a person looks at two dozen, not at hundreds."""

MOST_PAIRS = 12
MOST_ROWS = 50
"""Rows of a long table that are shown; the total stands beside it."""

MOST_CLASSES_IN_MATRIX = 25
"""A larger confusion matrix is unreadable; the list of confused pairs replaces it."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` computed: results as in metrics.json; `main` is the one that speaks for the model.

    `questions` says for each comparison by name what it answers: baseline or ingredient.
    """

    truth: Truth
    entries: Mapping[str, Entry]
    results: Mapping[str, Any]
    main: str
    questions: Mapping[str, str]
    confidence: float
    ece_bins: int
    draws: int


@dataclass(frozen=True)
class MainRows:
    """The main prediction on test: labels, predicted and groups (M,) int64, pred_probs (M, K) float64."""

    sample_ids: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    groups: np.ndarray
    pred_probs: np.ndarray


@dataclass(frozen=True)
class Card:
    """A picture of a contact sheet with the lines below it."""

    picture: Picture | None
    name: str
    lines: tuple[tuple[str, str], ...]
    mark: str = ""


def build_report(evaluation: Evaluation, folders: Folders) -> str:
    """Return the page."""
    findings = read_findings(folders)
    rows = main_rows(evaluation)
    shown = pictures(folders.ingest, _pictured(rows, findings))
    counts = metrics.confusion(rows.labels, rows.predicted, len(evaluation.truth.classes))
    return render(
        verdict_part(evaluation, rows, counts, findings)
        | results_part(evaluation)
        | leak_part(evaluation.results)
        | error_part(evaluation, rows, counts, findings, shown)
        | data_part(findings, shown)
        | training_part(findings)
    )


def render(page: Mapping[str, Any]) -> str:
    """Fill report.html.jinja; a name that the template asks for and the page lacks raises."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": report_words.percent,
        "span": report_words.span,
        "points": report_words.points,
        "plural": report_words.plural,
        "p_text": report_words.p_text,
        "short": report_words.short,
        "code": report_words.code,
    }
    return environment.get_template(TEMPLATE).render(page, stylesheet=STYLESHEET)


def main_rows(evaluation: Evaluation) -> MainRows:
    """Return the main prediction on test."""
    truth, entry = evaluation.truth, evaluation.entries[evaluation.main]
    kept = truth.split[entry.positions] == "test"
    positions = entry.positions[kept]
    return MainRows(
        sample_ids=tuple(truth.sample_ids[position] for position in positions),
        labels=truth.labels[positions],
        predicted=metrics.top1(entry.pred_probs[kept]),
        groups=truth.groups[positions],
        pred_probs=entry.pred_probs[kept].astype(np.float64),
    )


def worst_errors(rows: MainRows) -> list[int]:
    """Return the rows that are wrong, the most confident first."""
    wrong = np.flatnonzero(rows.labels != rows.predicted)
    confidence = rows.pred_probs.max(axis=1)
    return sorted(wrong.tolist(), key=lambda row: (-confidence[row], rows.sample_ids[row]))


def _pictured(rows: MainRows, findings: Findings) -> set[str]:
    errors = {rows.sample_ids[row] for row in worst_errors(rows)[:MOST_PICTURES]}
    suspects = {suspect.sample_id for suspect in findings.suspects[:MOST_PICTURES]}
    pairs = (findings.conflicts + findings.pairs)[: 2 * MOST_PAIRS]
    return errors | suspects | {pair[side] for pair in pairs for side in ("sample_id_a", "sample_id_b")}


def verdict_part(
    evaluation: Evaluation, rows: MainRows, counts: np.ndarray, findings: Findings
) -> dict[str, Any]:
    """Return the headline, what it is held against, and what to do next."""
    test, comparisons = evaluation.results["test"], evaluation.results["comparisons"]
    record, worst = test[evaluation.main], worst_class(evaluation.truth.classes, counts)
    compared = [
        report_words.against(
            evaluation.main,
            other,
            comparisons.get(f"ensemble_minus_{other}"),
            test.get(other),
            evaluation.confidence,
        )
        for other in ("dummy", "linear", "human")
    ]
    return {
        "main": evaluation.main,
        "main_record": record,
        "level": report_words.percent(evaluation.confidence, 0),
        "headline": report_words.headline(evaluation.main, record),
        "compared": [sentence for sentence in compared if sentence],
        "seeds_sentence": report_words.seeds_sentence(evaluation.results["seeds"]["test"]),
        "people": report_words.people_sentence(findings.human),
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


def error_part(
    evaluation: Evaluation,
    rows: MainRows,
    counts: np.ndarray,
    findings: Findings,
    shown: Mapping[str, Picture],
) -> dict[str, Any]:
    """Return confusion, calibration, classes and the worst errors of the main prediction on test."""
    classes = evaluation.truth.classes
    bins = metrics.calibration_table(rows.pred_probs, rows.labels, evaluation.ece_bins)
    errors = worst_errors(rows)
    summary = f"Accuracy over confidence in {len(bins)} bins; the table beside it has the numbers."
    return {
        "n_test": len(rows.labels),
        "n_errors": len(errors),
        "n_classes": len(classes),
        "matrix": _matrix(classes, counts) if len(classes) <= MOST_CLASSES_IN_MATRIX else None,
        "classes": classes,
        "confused": confused_pairs(classes, counts)[:MOST_ROWS],
        "calibration": bins,
        "calibration_chart": charts.reliability_chart(bins, summary),
        "class_rows": class_rows(evaluation, rows, counts, findings),
        "errors": [_error_card(rows, row, classes, findings, shown) for row in errors[:MOST_PICTURES]],
    }


def _matrix(classes: Sequence[str], counts: np.ndarray) -> list[tuple[str, list[dict[str, Any]]]]:
    actual = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        (name, [{"n": n, "share": share} for n, share in zip(row.tolist(), shares.tolist(), strict=True)])
        for name, row, shares in zip(classes, counts, counts / actual, strict=True)
    ]


def confused_pairs(classes: Sequence[str], counts: np.ndarray) -> list[tuple[str, str, int, int]]:
    """Return (actual, predicted, n, n of the actual class), the most frequent confusion first."""
    wrong = [(int(a), int(p)) for a, p in zip(*np.nonzero(counts), strict=True) if a != p]
    wrong.sort(key=lambda pair: (-counts[pair], pair))
    return [(classes[a], classes[p], int(counts[a, p]), int(counts[a].sum())) for a, p in wrong]


def class_rows(
    evaluation: Evaluation, rows: MainRows, counts: np.ndarray, findings: Findings
) -> list[dict[str, Any]]:
    """Return one row a class, the lowest recall first, at most MOST_ROWS."""
    classes = evaluation.truth.classes
    found: list[dict[str, Any]] = []
    for k, score in enumerate(metrics.per_class(counts)):
        of_class = rows.labels == k
        correct = (rows.predicted == k)[of_class]
        found.append(
            {
                "name": classes[k],
                "score": score,
                "ci": accuracy_interval(correct, _renumbered(rows.groups[of_class]), evaluation.confidence)
                if score.n
                else None,
                "confused_with": None if score.confused_with is None else classes[score.confused_with],
                "counts": findings.class_counts[classes[k]],
            }
        )
    return sorted(found, key=lambda row: (row["score"].n == 0, row["score"].recall or 0.0))[:MOST_ROWS]


def _renumbered(groups: np.ndarray) -> np.ndarray:
    return np.unique(groups, return_inverse=True)[1]


def _error_card(
    rows: MainRows, row: int, classes: Sequence[str], findings: Findings, shown: Mapping[str, Picture]
) -> Card:
    sample_id, said = rows.sample_ids[row], int(rows.predicted[row])
    doubted = any(suspect.sample_id == sample_id for suspect in findings.suspects)
    lines = (
        ("label", classes[int(rows.labels[row])]),
        ("model", f"{classes[said]} ({report_words.percent(float(rows.pred_probs[row, said]), 0)})"),
    )
    mark = "this label is itself a suspect" if doubted else ""
    return Card(shown.get(sample_id), _source(findings, sample_id), lines, mark)


def _source(findings: Findings, sample_id: str) -> str:
    """Say which file it is, and the id by which `data/review/decisions.csv` names it."""
    source = findings.sources.get(sample_id)
    return f"{source} · {sample_id}" if source and source != sample_id else sample_id


def data_part(findings: Findings, shown: Mapping[str, Picture]) -> dict[str, Any]:
    """Return what was found in the data: refused files, copies, doubted labels and class balance."""
    reasons = Counter(row["reason"] for row in findings.quarantined)
    most = max(max(counts.values()) for counts in findings.class_counts.values())
    return {
        "findings": findings,
        "quarantine_reasons": sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])),
        "quarantined_rows": findings.quarantined[:MOST_ROWS],
        "suspect_cards": [_suspect_card(item, findings, shown) for item in findings.suspects[:MOST_PICTURES]],
        "pair_cards": [
            [_pair_card(pair, side, findings, shown) for side in "ab"]
            for pair in (findings.conflicts or findings.pairs)[:MOST_PAIRS]
        ],
        "balance": [
            {"name": name, "counts": counts, "share": 100 * counts["train"] / most if most else 0.0}
            for name, counts in list(findings.class_counts.items())[:MOST_ROWS]
        ],
    }


def _suspect_card(suspect: Suspect, findings: Findings, shown: Mapping[str, Picture]) -> Card:
    lines = (
        ("label", suspect.given_label),
        ("rather", suspect.suggested_label),
        ("quality", f"{suspect.label_quality:.3f}"),
        ("status", suspect.status),
    )
    return Card(shown.get(suspect.sample_id), _source(findings, suspect.sample_id), lines)


def _pair_card(pair: Mapping[str, str], side: str, findings: Findings, shown: Mapping[str, Picture]) -> Card:
    sample_id = pair[f"sample_id_{side}"]
    lines = (("label", pair[f"label_{side}"] or "none"),)
    return Card(shown.get(sample_id), _source(findings, sample_id), lines, f"{pair['kind']} copy")


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
