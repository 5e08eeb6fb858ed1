"""Count the classes and plan how training draws from them.

From: the curated samples that are kept and labelled. To: counts, and per class two weights and a strength.
No row is copied; the plan is applied to train alone, so val and test keep the distribution that the model
will meet. sampling_weight is how often a sample of the class is drawn, compared with others; loss_weight
multiplies its loss and averages 1 over the samples; augmentation_strength multiplies every magnitude of its
augmentation. Default is `none`: reweighting trades calibration for rare classes.
Source: Cui et al. 2019, Class-Balanced Loss Based on Effective Number of Samples, eq. 2 and 5 (`weights`);
Mahajan et al. 2018, Exploring the Limits of Weakly Supervised Pretraining, section 2.2 (`sqrt`).
Cost: linear.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from stages.lib.artifacts import read_table, write_csv, write_json
from stages.lib.cli import stage_main
from stages.lib.config import Section

Strategy = Literal["none", "oversample", "undersample", "sqrt", "weights", "augment"]

VIEW_DIMENSIONS = 6
"""Numbers drawn for a view (rotation, zoom, aspect, two shifts, shear): its room grows with that power."""


class Params(Section):
    """How rare classes are helped."""

    strategy: Strategy
    effective_number_beta: float = Field(ge=0, lt=1)
    augment_max_strength: float = Field(ge=1, le=4)


def count_classes(labels: Iterable[str | None], statuses: Iterable[str]) -> dict[str, int]:
    """Return kept, labelled samples per class, classes sorted."""
    kept = Counter(
        label
        for label, status in zip(labels, statuses, strict=True)
        if label is not None and status in ("keep", "relabel")
    )
    return dict(sorted(kept.items()))


def imbalance_ratio(n: np.ndarray) -> float:
    """Return the largest class count over the smallest; 1.0 where there is no class."""
    return float(n.max() / n.min()) if len(n) else 1.0


def effective_number(n: np.ndarray, beta: float) -> np.ndarray:
    """Return (K,) float64: (1 − βⁿ)/(1 − β), what n samples are worth when they overlap (Cui, eq. 2)."""
    # expm1 keeps digits where β is close to 1, which is where the method is used.
    if beta == 0:
        return np.ones(len(n))
    grown: np.ndarray = -np.expm1(n * np.log(beta)) / (1 - beta)
    return grown


def sampling_weights(n: np.ndarray, strategy: Strategy) -> np.ndarray:
    """Return (K,) float64: how often one sample of each class is drawn; the classes' counts are n (K,)."""
    if strategy in ("oversample", "augment"):
        over: np.ndarray = n.max(initial=1) / n
        return over
    if strategy == "undersample":
        under: np.ndarray = n.min(initial=n.max(initial=1)) / n
        return under
    if strategy == "sqrt":
        root: np.ndarray = np.sqrt(n.max(initial=1) / n)
        return root
    return np.ones(len(n))


def loss_weights(n: np.ndarray, strategy: Strategy, beta: float) -> np.ndarray:
    """Return (K,) float64: the factor of each class's loss; its mean over all samples is 1."""
    if strategy != "weights":
        return np.ones(len(n))
    weights = 1 / effective_number(n, beta)
    scaled: np.ndarray = weights * n.sum() / (weights * n).sum()
    return scaled


def augmentation_strengths(n: np.ndarray, strategy: Strategy, most: float) -> np.ndarray:
    """Return (K,) float64: the factor of every augmentation magnitude of each class, at most `most`.

    A sample drawn w times as often gets w times as many views; they lie as far apart as those of the largest
    class when the room they are drawn from is w times as large.
    """
    if strategy != "augment":
        return np.ones(len(n))
    strengths: np.ndarray = np.minimum(sampling_weights(n, strategy) ** (1 / VIEW_DIMENSIONS), most)
    return strengths


def plan(counts: Mapping[str, int], params: Params) -> dict[str, Any]:
    """Return plan.json's content for the samples per class."""
    n = np.array(list(counts.values()), np.float64)
    sampling = sampling_weights(n, params.strategy)
    columns = {
        "effective_number": effective_number(n, params.effective_number_beta),
        "sampling_weight": sampling,
        "loss_weight": loss_weights(n, params.strategy, params.effective_number_beta),
        "augmentation_strength": augmentation_strengths(n, params.strategy, params.augment_max_strength),
    }
    return {
        "strategy": params.strategy,
        "imbalance_ratio": imbalance_ratio(n),
        "classes": {
            name: {"n": count} | {column: float(values[row]) for column, values in columns.items()}
            for row, (name, count) in enumerate(counts.items())
        },
    }


def summary(counts: Mapping[str, int], params: Params) -> dict[str, Any]:
    """Return the stage's metrics."""
    n = np.array(list(counts.values()), np.float64)
    effective = effective_number(n, params.effective_number_beta)
    return {
        "n": int(n.sum()),
        "n_classes": len(counts),
        "n_smallest_class": int(n.min(initial=n.max(initial=0))),
        "n_largest_class": int(n.max(initial=0)),
        "imbalance_ratio": imbalance_ratio(n),
        "effective_imbalance_ratio": imbalance_ratio(effective),
    }


def run(params: Params, *, curate: Path, out: Path) -> dict[str, Any]:
    """Write plan.json and counts.csv."""
    samples = read_table(curate / "samples.parquet", ["label", "status"]).to_pydict()
    counts = count_classes(samples["label"], samples["status"])
    planned = plan(counts, params)
    write_json(out / "plan.json", planned)
    effective = [entry["effective_number"] for entry in planned["classes"].values()]
    rows = [(name, n, worth) for (name, n), worth in zip(counts.items(), effective, strict=True)]
    write_csv(out / "counts.csv", ["class", "n", "effective_number"], rows)
    return summary(counts, params)


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
