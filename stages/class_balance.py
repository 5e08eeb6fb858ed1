"""Count the classes and plan how training draws from them.

From: the curated samples that are kept and labelled. To: counts, and per class two weights. No row is
copied; the plan is applied to train alone, so val and test keep the distribution that the model will meet.
sampling_weight is how often a sample of the class is drawn per epoch, on average (1: once); loss_weight
multiplies its loss and averages 1 over the samples. Default is `none`: reweighting trades calibration for
rare classes.
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

Strategy = Literal["none", "oversample", "undersample", "sqrt", "weights"]


class Params(Section):
    """How rare classes are helped."""

    strategy: Strategy
    effective_number_beta: float = Field(ge=0, lt=1)


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
    """Return (K,) float64: mean draws per epoch of one sample of each class, whose counts are n (K,)."""
    if strategy == "oversample":
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


def plan(counts: Mapping[str, int], params: Params) -> dict[str, Any]:
    """Return plan.json's content for the samples per class."""
    n = np.array(list(counts.values()), np.float64)
    sampling = sampling_weights(n, params.strategy)
    loss = loss_weights(n, params.strategy, params.effective_number_beta)
    return {
        "strategy": params.strategy,
        "imbalance_ratio": imbalance_ratio(n),
        "classes": {
            name: {"n": count, "sampling_weight": float(draws), "loss_weight": float(weight)}
            for (name, count), draws, weight in zip(counts.items(), sampling, loss, strict=True)
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
    write_json(out / "plan.json", plan(counts, params))
    write_csv(out / "counts.csv", ["class", "n"], counts.items())
    return summary(counts, params)


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
