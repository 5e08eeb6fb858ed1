"""Say what the predictions are worth: metrics with intervals, paired comparisons, plots and the report.

From prediction files alone (`data/baseline/predictions`, `data/predict/predictions`), held against curated
labels and splits; every prediction, dummy to ensemble, passes the same code. Nothing is chosen here by test.
- Accuracies carry Wilson intervals on the effective number of samples; differences carry paired bootstrap
  intervals over groups and an exact sign test (McNemar's where every group is one image): `lib/intervals.py`.
- P-values are also given corrected by Holm for how many comparisons answer the same question: is the model
  better than a baseline, and does an ingredient (ensemble, augmentation at test time, distillation) help?
- Where an official split leaks, every accuracy also stands without them (`lib/duplicate_tax.py`).
- Training is random: over seeds the mean and the standard deviation count, never the best seed.

The report (`stages/lib/report.py`) shows this beside what every earlier stage found.
Cost: 0.5 s to import (no torch, no scikit-learn); on digits under one second, on 10 predictions of 10,000
samples with 10,000 draws a few.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from stages.lib import metrics
from stages.lib.artifacts import write_csv, write_text
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.duplicate_tax import meaning, taxes
from stages.lib.intervals import accuracy_interval, group_sums, holm, paired_intervals, sign_flip_p_value
from stages.lib.leaks import leaked_test_ids
from stages.lib.prior_findings import Folders
from stages.lib.report import build_report
from stages.lib.scored_rows import Evaluation
from stages.lib.truth import SCORED, Entry, Truth, has_official_split, load_entries, load_truth

SEED_NAME = re.compile(r"seed\d+(?P<views>_tta)?")
MAIN = "ensemble"
BASELINES = ("dummy", "linear", "linear_embedding", "human")
SEED_MEAN = "seed_mean"
"""The accuracy of the networks of all seeds, averaged for each image: what a single training run gives."""


class Params(Section):
    """Section `evaluate` of params.yaml."""

    bootstrap_draws: int = Field(ge=100, le=1_000_000)
    confidence: float = Field(gt=0.5, lt=1)
    ece_bins: int = Field(ge=2, le=100)
    seed: int = Field(ge=0)


@dataclass(frozen=True)
class Pair:
    """A comparison: mean correctness of `a` minus that of `b`, which may be several predictions averaged."""

    a: str
    b: str
    b_members: tuple[str, ...]
    question: Literal["baseline", "ingredient"]

    @property
    def name(self) -> str:
        """Return the key in metrics.json."""
        return f"{self.a}_minus_{self.b}"


def part(truth: Truth, entry: Entry, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (pred_probs (M, K) float64, labels (M,), groups (M,)) of the samples of one split."""
    rows = truth.split[entry.positions] == split
    positions = entry.positions[rows]
    return entry.pred_probs[rows].astype(np.float64), truth.labels[positions], truth.groups[positions]


def score(truth: Truth, entry: Entry, split: str, params: Params) -> dict[str, Any] | None:
    """Return the record of one prediction on one split; None where it covers none of its samples."""
    pred_probs, labels, groups = part(truth, entry, split)
    if not len(labels):
        return None
    predicted = metrics.top1(pred_probs)
    counts = metrics.confusion(labels, predicted, len(truth.classes))
    return {
        "n": len(labels),
        "top1_accuracy": metrics.top1_accuracy(counts),
        "top1_accuracy_ci": list(accuracy_interval(predicted == labels, groups, params.confidence)),
        "balanced_accuracy": metrics.balanced_accuracy(counts),
        "macro_f1": metrics.macro_f1(counts),
        "log_loss": metrics.log_loss(pred_probs, labels),
        "ece": metrics.ece(metrics.calibration_table(pred_probs, labels, params.ece_bins)),
    }


def score_all(
    truth: Truth, entries: Mapping[str, Entry], params: Params
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return {split: {name: record}}."""
    return {
        split: {
            name: record
            for name, entry in entries.items()
            if (record := score(truth, entry, split, params)) is not None
        }
        for split in SCORED
    }


def seed_names(names: Sequence[str], views: str = "") -> list[str]:
    """Return the names of single networks, plain or (views="_tta") seen through several views, by seed."""
    matches = [match for name in names if (match := SEED_NAME.fullmatch(name))]
    found = [match[0] for match in matches if (match["views"] or "") == views]
    return sorted(found, key=lambda name: int("".join(filter(str.isdigit, name))))


def over_seeds(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and standard deviation (n - 1) of the accuracies of single networks, and their number."""
    found = {}
    for views in ("", "_tta"):
        accuracies = [scores[name]["top1_accuracy"] for name in seed_names(list(scores), views)]
        if accuracies:
            found[f"seed{views}"] = {
                "n_seeds": len(accuracies),
                "top1_accuracy_mean": float(np.mean(accuracies)),
                "top1_accuracy_sd": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
            }
    return found


def planned_pairs(names: Sequence[str]) -> list[Pair]:
    """Return the comparisons to make: fixed by which predictions exist, before any is scored.

    The ensemble against the baselines, against people, and against single networks; test-time augmentation
    against the plain view of the same network; the student against its teacher.
    """
    seeds, available = tuple(seed_names(names)), set(names)
    plain = [name.removesuffix("_tta") for name in names if name.endswith("_tta")]
    pairs = [Pair(MAIN, other, (other,), "baseline") for other in BASELINES]
    pairs += [Pair(MAIN, SEED_MEAN, seeds, "ingredient")] if seeds else []
    pairs += [Pair(MAIN, seed, (seed,), "ingredient") for seed in seeds]
    pairs += [Pair(f"{name}_tta", name, (name,), "ingredient") for name in plain]
    pairs += [Pair("student", MAIN, (MAIN,), "ingredient")]
    return [pair for pair in pairs if {pair.a, *pair.b_members} <= available]


def correctness(truth: Truth, entry: Entry) -> np.ndarray:
    """Return (N,) float64: 1 right, 0 wrong, NaN where the prediction does not cover the sample."""
    found = np.full(len(truth.labels), np.nan)
    found[entry.positions] = metrics.top1(entry.pred_probs) == truth.labels[entry.positions]
    return found


def compare(
    truth: Truth, entries: Mapping[str, Entry], pairs: Sequence[Pair], params: Params
) -> dict[str, dict[str, Any]]:
    """Return {name: {difference, ci, p_value, p_value_holm, n}}, on test samples both cover."""
    test = truth.split == "test"
    groups = np.unique(truth.groups[test], return_inverse=True)[1]
    right = {name: correctness(truth, entry)[test] for name, entry in entries.items()}
    columns = [right[pair.a] - np.mean([right[b] for b in pair.b_members], axis=0) for pair in pairs]
    kept = [(pair, column) for pair, column in zip(pairs, columns, strict=True) if np.isfinite(column).any()]
    if not kept:
        return {}
    differences = np.stack([column for _, column in kept], axis=1)
    rng = np.random.default_rng(params.seed)
    intervals = paired_intervals(differences, groups, params.bootstrap_draws, params.confidence, rng)
    p_values = [p_value(pair, column, groups) for pair, column in kept]
    corrected = holm_by_question([pair for pair, _ in kept], p_values)
    return {
        pair.name: {
            "difference": float(np.nanmean(column)),
            "ci": list(interval),
            "p_value": p,
            "p_value_holm": p_holm,
            "n": int(np.isfinite(column).sum()),
        }
        for (pair, column), interval, p, p_holm in zip(kept, intervals, p_values, corrected, strict=True)
    }


def holm_by_question(pairs: Sequence[Pair], p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for how many pairs ask the same question, in the given order."""
    corrected = [0.0] * len(pairs)
    for question in ("baseline", "ingredient"):
        places = [index for index, pair in enumerate(pairs) if pair.question == question]
        for index, p in zip(places, holm([p_values[index] for index in places]), strict=True):
            corrected[index] = p
    return corrected


def p_value(pair: Pair, differences: np.ndarray, groups: np.ndarray) -> float:
    """Return the exact sign test over groups; a mean over members is scaled back to whole numbers."""
    whole = np.where(np.isfinite(differences), np.round(differences * len(pair.b_members)), 0.0)
    return sign_flip_p_value(group_sums(whole[:, None], groups)[:, 0])


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
    scores = score_all(truth, entries, params)
    pairs = planned_pairs(list(entries))
    main = headline_name(scores)
    taxed = taxes(truth, entries, leaked_test_ids(split / "leaks.csv"), params.confidence)
    results = scores | {
        "duplicate_tax": {
            "meaning": meaning(main, taxed[main], has_official_split(curate)),
            "predictions": taxed,
        },
        "comparisons": compare(truth, entries, pairs, params),
        "seeds": {name: over_seeds(scores[name]) for name in SCORED},
    }
    write_plots(truth, entries[main], scores, params, out)
    found = Evaluation(
        truth=truth,
        entries=entries,
        results=results,
        main=main,
        questions={pair.name: pair.question for pair in pairs},
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
