"""The duplicate tax: how much of a test accuracy is owed to images that train had seen in another copy.

Official splits leak: CIFAR-10's test images have near copies in its train part (Barz & Denzler 2020, "Do we
train on test data?"). The tax is the accuracy on all test samples minus that on those without a copy or group
mate in train, so the share of leaked ones times (accuracy on leaked minus accuracy on clean ones). These two
are different samples, so their difference gets the interval for independent proportions.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from stages.lib.intervals import Interval, accuracy_interval
from stages.lib.metrics import top1
from stages.lib.report_words import percent, plural, points
from stages.lib.truth import Entry, Truth

Record = Mapping[str, Any]


def taxes(
    truth: Truth, entries: Mapping[str, Entry], leaked_ids: frozenset[str], confidence: float
) -> dict[str, dict[str, Any]]:
    """Return {name: record} of every prediction on test; `leaked_ids` resemble something in train."""
    leaked = np.array([sample_id in leaked_ids for sample_id in truth.sample_ids], bool)
    found = {}
    for name, entry in entries.items():
        kept = truth.split[entry.positions] == "test"
        rows = entry.positions[kept]
        if len(rows):
            correct = top1(entry.pred_probs[kept]) == truth.labels[rows]
            found[name] = duplicate_tax(correct, truth.groups[rows], leaked[rows], confidence)
    return found


def duplicate_tax(
    correct: np.ndarray, groups: np.ndarray, leaked: np.ndarray, confidence: float
) -> dict[str, Any]:
    """Return the record of one prediction on test: correct, leaked (M,) bool, groups (M,) int64.

    Keys: n, n_leaked; with_leaked, without_leaked, leaked_alone: {n, top1_accuracy, top1_accuracy_ci} or None
    where there is no such sample; tax, tax_ci: None unless there are samples of both kinds.
    """
    parts = {
        name: _part(correct[rows], groups[rows], confidence)
        for name, rows in (
            ("with_leaked", np.ones(len(correct), bool)),
            ("without_leaked", ~leaked),
            ("leaked_alone", leaked),
        )
    }
    clean, dirty = parts["without_leaked"], parts["leaked_alone"]
    share = float(leaked.mean())
    record = {"n": len(correct), "n_leaked": int(leaked.sum())} | parts
    if clean is None or dirty is None:
        return record | {"tax": None, "tax_ci": None}
    low, high = independent_difference(
        dirty["top1_accuracy"], dirty["top1_accuracy_ci"], clean["top1_accuracy"], clean["top1_accuracy_ci"]
    )
    tax = share * (dirty["top1_accuracy"] - clean["top1_accuracy"])
    return record | {"tax": tax, "tax_ci": [share * low, share * high]}


def _part(correct: np.ndarray, groups: np.ndarray, confidence: float) -> dict[str, Any] | None:
    if not len(correct):
        return None
    return {
        "n": len(correct),
        "top1_accuracy": float(correct.mean()),
        "top1_accuracy_ci": list(accuracy_interval(correct, groups, confidence)),
    }


def independent_difference(a: float, interval_a: Interval, b: float, interval_b: Interval) -> Interval:
    """Return the interval of a - b from those of two independent proportions (Newcombe 1998, method 10)."""
    low = a - b - math.hypot(a - interval_a[0], interval_b[1] - b)
    high = a - b + math.hypot(interval_a[1] - a, b - interval_b[0])
    return low, high


def meaning(name: str, record: Record, official: bool) -> str:
    """Return one sentence on what a record says of the prediction `name`."""
    n, leaked = plural(record["n"], "test image"), record["n_leaked"]
    if not leaked:
        why = "" if official else ", because the split was made so that none has"
        return f"None of {n} has a known copy or group mate in train{why}: no accuracy here is owed to one."
    have = "has" if leaked == 1 else "have"
    count = f"{leaked:,} of {n} {have} a copy or group mate in train"
    if record["tax"] is None:
        return f"{count}: there is no clean one to measure on."
    both = percent(record["with_leaked"]["top1_accuracy"])
    clean = percent(record["without_leaked"]["top1_accuracy"])
    low, high = record["tax_ci"]
    gap = f"{points(record['tax'])} points ({points(low)} to {points(high)})"
    figures = f"{count}; {name} reaches {both} with them and {clean} without"
    if low > 0:
        return f"{figures}: {gap} of its accuracy are owed to them."
    if high < 0:
        return f"{figures}: {gap}, so they are harder than the others and flatter nobody."
    return f"{figures}: that they raise its accuracy is not shown, {gap}."
