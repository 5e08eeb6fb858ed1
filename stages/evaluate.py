"""Say what the predictions are worth: metrics with intervals, paired comparisons, plots and the report.

From prediction files alone (`data/baseline/predictions`, `data/predict/predictions`), held against curated
labels and splits; every prediction, dummy to ensemble, passes the same code. Nothing is chosen here by test.
- Accuracies carry Wilson intervals on the effective number of samples, other metrics BCa intervals over
  groups (`lib/bca.py`), calibration errors one of their own (`lib/gap_interval.py`); differences carry paired
  bootstrap intervals over groups and an exact sign test, McNemar's where every group is one image
  (`lib/comparisons.py`).
- P-values are also given corrected by Holm for how many comparisons answer the same question: is the model
  better than a baseline, and does an ingredient (ensemble, augmentation at test time, distillation) help?
- Where an official split leaks, every accuracy also stands without them (`lib/duplicate_tax.py`).
- Training is random: over seeds the mean and the standard deviation count, never the best seed.

The report (`stages/lib/report.py`) shows this beside what every earlier stage found.
Cost: 0.5 s to import (no torch, no scikit-learn); on digits under one second, on 10 predictions of 10,000
samples with 10,000 draws a few.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from stages.lib import metrics
from stages.lib.artifacts import write_csv, write_text
from stages.lib.cli import stage_main
from stages.lib.comparisons import MAIN, compare, planned_pairs
from stages.lib.config import Section
from stages.lib.duplicate_tax import meaning, taxes
from stages.lib.leaks import leaked_test_ids
from stages.lib.prior_findings import Folders
from stages.lib.report import build_report
from stages.lib.scored_rows import Evaluation
from stages.lib.scores import Scoring, class_records, over_seeds, part, score_all
from stages.lib.truth import SCORED, Entry, Truth, has_official_split, load_entries, load_truth


class Params(Section):
    """Section `evaluate` of params.yaml."""

    bootstrap_draws: int = Field(ge=100, le=1_000_000)
    confidence: float = Field(gt=0.5, lt=1)
    ece_bins: int = Field(ge=2, le=100)
    top_k: int = Field(ge=2, le=1000)
    seed: int = Field(ge=0)


def headline_name(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the prediction that speaks for the model, chosen on val alone.

    The ensemble, through several views where that is strictly better on val; without one, what is best there.
    """
    val, test = scores["val"], scores["test"]
    views = f"{MAIN}_tta"
    if MAIN in test and views in test and MAIN in val and views in val:
        return views if val[views]["top1_accuracy"] > val[MAIN]["top1_accuracy"] else MAIN
    if MAIN in test:
        return MAIN
    return max(test, key=lambda name: (val.get(name, {}).get("top1_accuracy", -1.0), name))


def figures(truth: Truth, entries: Mapping[str, Entry], params: Params) -> dict[str, Any]:
    """Return what metrics.json says from predictions and truth alone."""
    top_k = min(params.top_k, len(truth.classes))
    how = Scoring(params.confidence, params.bootstrap_draws, params.seed, params.ece_bins, top_k)
    scores = score_all(truth, entries, how)
    main = entries[headline_name(scores)]
    return scores | {
        "comparisons": compare(truth, entries, planned_pairs(list(entries)), how),
        "classes": class_records(truth, main, params.confidence),
        "seeds": {name: over_seeds(scores[name]) for name in SCORED},
    }


def write_plots(truth: Truth, entry: Entry, scores: Mapping[str, Any], params: Params, out: Path) -> None:
    """Write the tables that `dvc plots` draws: confusion.csv, calibration.csv, accuracy.csv, all of test."""
    pred_probs, labels, _ = part(truth, entry, "test")
    predicted = metrics.top1(pred_probs)
    pairs = zip(labels.tolist(), predicted.tolist(), strict=True)
    named = [(truth.classes[actual], truth.classes[said]) for actual, said in pairs]
    write_csv(out / "confusion.csv", ("actual", "predicted"), named)
    bins = metrics.calibration_table(pred_probs, labels, params.ece_bins)
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
            for name, record in scores["test"].items()
        ],
    )


def run(
    params: Params,
    *,
    ingest: Path,
    duplicates: Path,
    label_noise: Path,
    curate: Path,
    class_balance: Path,
    validate: Path,
    split: Path,
    baseline: Path,
    preflight: Path,
    train: Path,
    distill: Path,
    predict: Path,
    out: Path,
) -> dict[str, Any]:
    """Write the plots and report.html; return the metrics."""
    truth = load_truth(curate, split, duplicates)
    entries = load_entries(truth, [baseline / "predictions", predict / "predictions"])
    results = figures(truth, entries, params)
    main = headline_name(results)
    taxed = taxes(truth, entries, leaked_test_ids(split / "leaks.csv"), params.confidence)
    results["duplicate_tax"] = {
        "meaning": meaning(main, taxed[main], has_official_split(curate)),
        "predictions": taxed,
    }
    write_plots(truth, entries[main], results, params, out)
    found = Evaluation(
        truth=truth,
        entries=entries,
        results=results,
        main=main,
        questions={pair.name: pair.question for pair in planned_pairs(list(entries))},
        confidence=params.confidence,
        ece_bins=params.ece_bins,
        draws=params.bootstrap_draws,
    )
    folders = Folders(
        ingest,
        duplicates,
        label_noise,
        curate,
        class_balance,
        validate,
        split,
        baseline,
        preflight,
        train,
        distill,
        predict,
    )
    write_text(out / "report.html", build_report(found, folders))
    return results


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
