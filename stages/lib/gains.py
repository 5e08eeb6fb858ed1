"""What each ingredient brought, honestly: its paired gain with interval and cost; none where not shown.

Ensemble, views at test time and distillation are told by networks that exist anyway. What changes training
needs networks trained with it and without it, two seeds or more, because training is random
(`lib/recipe_gain.py`): those that `ablate` trains, found by the names of their predictions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.lib.comparisons import SEED_MEAN, correctness
from stages.lib.ingredients import compared
from stages.lib.intervals import holm
from stages.lib.recipe_gain import recipe_gain
from stages.lib.scores import seed_names
from stages.lib.truth import Entry, Truth

COLUMNS = ("ingredient", "gain", "ci_low", "ci_high", "p_value_holm", "n", "shown", "cost")


@dataclass(frozen=True)
class Costs:
    """What is needed to say what an ingredient costs: networks, views, the student's share of parameters."""

    n_networks: int
    n_views: int
    student_share: float | None


def gains(
    truth: Truth,
    entries: Mapping[str, Entry],
    comparisons: Mapping[str, Mapping[str, Any]],
    costs: Costs,
    confidence: float,
) -> dict[str, dict[str, Any]]:
    """Return {ingredient: {difference, ci, p_value_holm, n, shown, cost}}, of accuracy on test.

    `shown` is the gain, or 0 where the interval includes 0 or the corrected p-value does not suffice.
    """
    share = costs.student_share
    told = {
        "ensemble": (f"ensemble_minus_{SEED_MEAN}", f"{costs.n_networks} times training and inference"),
        "tta": ("ensemble_tta_minus_ensemble", f"{costs.n_views} times inference"),
        "distillation": (
            "student_minus_ensemble",
            "one more training" + ("" if share is None else f"; {share:.2f} of one network's parameters"),
        ),
    }
    found = {
        ingredient: {
            **{key: comparisons[name][key] for key in ("difference", "ci", "p_value_holm", "n")},
            "cost": cost,
        }
        for ingredient, (name, cost) in told.items()
        if name in comparisons
    }
    found |= _trained_for_it(truth, entries, confidence)
    for record in found.values():
        record["shown"] = _shown(record, confidence)
    return found


def _trained_for_it(
    truth: Truth, entries: Mapping[str, Entry], confidence: float
) -> dict[str, dict[str, Any]]:
    test = truth.split == "test"
    groups = np.unique(truth.groups[test], return_inverse=True)[1]
    full = seed_names(list(entries))
    found: dict[str, tuple[dict[str, Any], float]] = {}
    for ingredient, sides in compared(list(entries), full).items():
        if not all(sides):
            continue
        a, b = (
            np.stack([correctness(truth, entries[name])[test] for name in part], axis=1) for part in sides
        )
        gain = recipe_gain(a, b, groups, confidence)
        if gain is not None:
            record = {
                "difference": gain.difference,
                "ci": list(gain.interval),
                "n": gain.n,
                "cost": f"told by {gain.n_seeds[0]} networks with it and {gain.n_seeds[1]} without",
            }
            found[ingredient] = record, gain.p_value
    corrected = holm([p_value for _, p_value in found.values()])
    return {
        name: record | {"p_value_holm": p_holm}
        for (name, (record, _)), p_holm in zip(found.items(), corrected, strict=True)
    }


def _shown(record: Mapping[str, Any], confidence: float) -> float:
    low, high = record["ci"]
    claimed = not low <= 0 <= high and record["p_value_holm"] <= 1 - confidence
    return float(record["difference"]) if claimed else 0.0
