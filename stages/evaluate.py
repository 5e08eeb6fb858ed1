"""Say what the predictions are worth: metrics with intervals, paired comparisons, plots and the report.

From prediction files alone (`data/{baseline,ablate,predict}/predictions`), held against curated
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

from stages.lib.abstention import operating_point
from stages.lib.artifacts import read_json, write_text
from stages.lib.cli import stage_main
from stages.lib.comparisons import COMBINED, MAIN, compare, planned_pairs
from stages.lib.config import Section
from stages.lib.duplicate_tax import meaning, taxes
from stages.lib.evaluation_files import write_plots, write_tables
from stages.lib.evaluation_parts import (
    members_diversity,
    noise_corrected,
    read_costs,
    student_agreement,
    tables_of,
)
from stages.lib.gains import Costs, gains
from stages.lib.leaks import leaked_test_ids
from stages.lib.looks import describe, note
from stages.lib.prior_findings import Folders
from stages.lib.report import build_report
from stages.lib.robustness_table import worst_by_kind
from stages.lib.scored_rows import Evaluation
from stages.lib.scores import Scoring, over_seeds, part, score_all
from stages.lib.slices import summary
from stages.lib.story import story
from stages.lib.truth import SCORED, Entry, Truth, has_official_split, load_entries, load_truth


class Params(Section):
    """Section `evaluate` of params.yaml."""

    bootstrap_draws: int = Field(ge=100, le=1_000_000)
    confidence: float = Field(gt=0.5, lt=1)
    ece_bins: int = Field(ge=2, le=100)
    top_k: int = Field(ge=2, le=1000)
    max_answered_error: float = Field(ge=0, lt=1)
    min_slice_size: int = Field(ge=1)
    seed: int = Field(ge=0)


def headline_name(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the prediction that speaks for the model, chosen on val alone.

    What val combined, where it did and that names no fewer val images rightly; else the ensemble, through
    several views where that is strictly better on val; without one, what is best there.
    """
    val, test = scores["val"], scores["test"]
    views = f"{MAIN}_tta"
    known = test.keys() & val.keys()
    if known >= {MAIN, COMBINED} and val[COMBINED]["top1_accuracy"] >= val[MAIN]["top1_accuracy"]:
        return COMBINED
    if MAIN in test and views in test and MAIN in val and views in val:
        return views if val[views]["top1_accuracy"] > val[MAIN]["top1_accuracy"] else MAIN
    if MAIN in test:
        return MAIN
    return max(test, key=lambda name: (val.get(name, {}).get("top1_accuracy", -1.0), name))


def scoring(params: Params, truth: Truth) -> Scoring:
    """Return how predictions are scored."""
    top_k = min(params.top_k, len(truth.classes))
    return Scoring(params.confidence, params.bootstrap_draws, params.seed, params.ece_bins, top_k)


def figures(truth: Truth, entries: Mapping[str, Entry], params: Params, costs: Costs) -> dict[str, Any]:
    """Return what metrics.json says from predictions and truth alone."""
    how = scoring(params, truth)
    scores = score_all(truth, entries, how)
    main = entries[headline_name(scores)]
    comparisons = compare(truth, entries, planned_pairs(list(entries)), how)
    parts = part(truth, main, "val"), part(truth, main, "test")
    return scores | {
        "abstention": operating_point(*parts, params.max_answered_error, params.ece_bins, params.confidence),
        "comparisons": comparisons,
        "diversity": {name: members_diversity(truth, entries, name) for name in SCORED},
        "gains": gains(truth, entries, comparisons, costs, params.confidence),
        "seeds": {name: over_seeds(scores[name]) for name in SCORED},
        "student_agreement": {
            name: student_agreement(truth, entries, name, params.confidence) for name in SCORED
        },
    }


def chosen_on_val(predict: Path) -> dict[str, str]:
    """Return the names of the views and the combination that val chose, and why soups were left out if so."""
    chosen = read_json(predict / "metrics.json").get("chosen", {})
    refused = chosen.get("combination", {}).get("soup_refused")
    names = {what: record["name"] for what, record in chosen.items()}
    return names | ({"soup_refused": refused} if refused else {})


def duplicate_tax(
    truth: Truth, entries: Mapping[str, Entry], main: str, split: Path, curate: Path, confidence: float
) -> dict[str, Any]:
    """Return every accuracy with and without test samples that resemble train, and what that means."""
    taxed = taxes(truth, entries, leaked_test_ids(split / "leaks.csv"), confidence)
    return {"meaning": meaning(main, taxed[main], has_official_split(curate)), "predictions": taxed}


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
    ablate: Path,
    predict: Path,
    review: Path,
    out: Path,
) -> dict[str, Any]:
    """Write the plots and report.html; return the metrics."""
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
    truth = load_truth(curate, split, duplicates)
    entries = load_entries(truth, [folder / "predictions" for folder in (baseline, ablate, predict)])
    results = figures(truth, entries, params, read_costs(entries, distill, predict))
    results["test_set"] = describe(truth, entries)
    note(results["test_set"])
    main = headline_name(results)
    temperature = results["abstention"]["temperature"] if results["abstention"] else 1.0
    how = scoring(params, truth)
    tables = tables_of(truth, entries[main], temperature, how, params.min_slice_size, folders)
    results["slices"] = summary(tables.slices, params.confidence)
    noise = read_json(label_noise / "metrics.json")
    record = results["test"][main]
    results["noise_corrected"] = noise_corrected(truth, entries[main], record, review, noise, how)
    results["robustness"] = worst_by_kind(tables.robustness)
    results["chosen_on_val"] = chosen_on_val(predict)
    results["duplicate_tax"] = duplicate_tax(truth, entries, main, split, curate, params.confidence)
    results["story"] = story(results, main, read_json(baseline / "human.json"), params.confidence)
    write_plots(truth, entries[main], results["test"], params.ece_bins, out)
    write_tables(tables, results, out)
    found = Evaluation(
        truth=truth,
        entries=entries,
        results=results,
        main=main,
        questions={pair.name: pair.question for pair in planned_pairs(list(entries))},
        confidence=params.confidence,
        ece_bins=params.ece_bins,
        draws=params.bootstrap_draws,
        top_k=how.top_k,
        tables=tables,
    )
    write_text(out / "report.html", build_report(found, folders))
    return results


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
