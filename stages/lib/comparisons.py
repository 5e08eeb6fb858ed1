"""Paired comparisons on test: planned from names before anything is scored, tested, corrected for how many.

Both predictions of a pair answer the same samples. The interval is a paired bootstrap over groups, the
p-value an exact sign test (McNemar's where every group is one image), corrected by Holm within one question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from stages.lib import metrics
from stages.lib.intervals import group_sums, holm, paired_intervals, sign_flip_p_value
from stages.lib.scores import Scoring, seed_names
from stages.lib.truth import Entry, Truth

MAIN = "ensemble"
COMBINED = "combined"
"""What val chose of views and combinations, where that is not an ensemble that exists anyway."""

BASELINES = (
    "dummy",
    "dummy_most_frequent",
    "dummy_zeros",
    "dummy_noise",
    "dummy_histogram",
    "linear",
    "linear_embedding",
    "knn",
    "svc",
    "human",
)
"""What needs no network that looks at the picture, from blind to sharp; each is held against the ensemble."""

SEED_MEAN = "seed_mean"
"""The accuracy of the networks of all seeds, averaged for each image: what a single training run gives."""


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


def planned_pairs(names: Sequence[str]) -> list[Pair]:
    """Return the comparisons to make: fixed by which predictions exist, before any is scored.

    The ensemble against the baselines, against people, and against single networks; test-time augmentation
    against the plain view of the same network; what val combined, and the student, against the ensemble.
    """
    seeds, available = tuple(seed_names(names)), set(names)
    plain = [name.removesuffix("_tta") for name in names if name.endswith("_tta")]
    pairs = [Pair(MAIN, other, (other,), "baseline") for other in BASELINES]
    pairs += [Pair(MAIN, SEED_MEAN, seeds, "ingredient")] if seeds else []
    pairs += [Pair(MAIN, seed, (seed,), "ingredient") for seed in seeds]
    pairs += [Pair(f"{name}_tta", name, (name,), "ingredient") for name in plain]
    pairs += [Pair(COMBINED, MAIN, (MAIN,), "ingredient")]
    pairs += [Pair("student", MAIN, (MAIN,), "ingredient")]
    return [pair for pair in pairs if {pair.a, *pair.b_members} <= available]


def correctness(truth: Truth, entry: Entry) -> np.ndarray:
    """Return (N,) float64: 1 right, 0 wrong, NaN where the prediction does not cover the sample."""
    found = np.full(len(truth.labels), np.nan)
    found[entry.positions] = metrics.top1(entry.pred_probs) == truth.labels[entry.positions]
    return found


def compare(
    truth: Truth, entries: Mapping[str, Entry], pairs: Sequence[Pair], how: Scoring
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
    rng = np.random.default_rng(how.seed)
    intervals = paired_intervals(differences, groups, how.draws, how.confidence, rng)
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
