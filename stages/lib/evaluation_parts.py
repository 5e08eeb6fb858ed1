"""What `evaluate` asks of the main prediction and the networks beside scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib import metrics
from stages.lib.abstention import risk_curve
from stages.lib.artifacts import read_json
from stages.lib.audit import FILE as AUDIT
from stages.lib.audit import bounds, corrected, read_audit
from stages.lib.calibration import warm
from stages.lib.combining import diversity
from stages.lib.gains import Costs
from stages.lib.intervals import accuracy_interval
from stages.lib.prior_findings import Folders
from stages.lib.robustness_table import FILE, robustness_rows
from stages.lib.sample_facts import sample_facts
from stages.lib.scored_rows import Tables
from stages.lib.scores import Scoring, class_records, part, seed_names
from stages.lib.slices import find_slices
from stages.lib.truth import Entry, Truth


def members_diversity(
    truth: Truth, entries: Mapping[str, Entry], split: str
) -> dict[str, float | None] | None:
    """Return how the single networks differ on a split; None with fewer than two of them."""
    parts = [part(truth, entries[name], split) for name in seed_names(list(entries))]
    if len(parts) < 2:
        return None
    return diversity(np.stack([probs for probs, _, _ in parts]), parts[0][1])


def student_agreement(
    truth: Truth, entries: Mapping[str, Entry], split: str, confidence: float
) -> dict[str, Any] | None:
    """Return how often the student says what the ensemble says, right or wrong; None without both."""
    if not {"student", "ensemble"} <= entries.keys():
        return None
    student, _, groups = part(truth, entries["student"], split)
    if not len(student):
        return None
    same = metrics.top1(student) == metrics.top1(part(truth, entries["ensemble"], split)[0])
    numbered = np.unique(groups, return_inverse=True)[1]
    return {
        "agreement": float(same.mean()),
        "agreement_ci": list(accuracy_interval(same, numbered, confidence)),
        "n": len(same),
    }


def read_costs(entries: Mapping[str, Entry], distill: Path, predict: Path) -> Costs:
    """Return what the ingredients cost, as the stages that used them say."""
    n_views = int(read_json(predict / "metrics.json")["n_views"])
    share = read_json(distill / "metrics.json").get("parameter_ratio")
    return Costs(len(seed_names(list(entries))), n_views, share)


def noise_corrected(
    truth: Truth,
    main: Entry,
    record: Mapping[str, Any],
    review: Path,
    noise: Mapping[str, Any],
    how: Scoring,
) -> dict[str, Any]:
    """Return the accuracy against checked labels, or bounds by the estimated noise rate where none are."""
    rows = main.positions[truth.split[main.positions] == "test"]
    pred_probs, labels, groups = part(truth, main, "test")
    checked = read_audit(review / AUDIT, truth)[rows]
    predicted = metrics.top1(pred_probs)
    found = corrected(predicted, labels, checked, groups, how.draws, how.confidence, how.seed)
    rate = noise.get("estimated_noise_rate_ci")
    return {
        "audited": found,
        "n_checked": int((checked >= 0).sum()),
        "bounds": bounds(record, rate) if rate else None,
    }


def tables_of(
    truth: Truth, main: Entry, temperature: float, how: Scoring, min_size: int, folders: Folders
) -> Tables:
    """Return what is told of the main prediction in tables: classes, risk against coverage, slices."""
    test = part(truth, main, "test")
    right = metrics.top1(test[0]) == test[1]
    rows = main.positions[truth.split[main.positions] == "test"]
    attributes = sample_facts(truth, rows, folders.ingest, folders.validate)
    return Tables(
        classes=class_records(truth, main, how.confidence),
        curve=risk_curve(warm(test[0], temperature), test, how.confidence),
        slices=find_slices(right, test[2], attributes, min_size, how.confidence),
        robustness=robustness_rows(folders.predict / FILE, truth, how.confidence),
    )
