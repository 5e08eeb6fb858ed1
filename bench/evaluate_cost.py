"""What does `evaluate` cost on many predictions of many samples?

    python -m bench.evaluate_cost [--predictions 10] [--samples 10000] [--classes 10] [--draws 10000]

Makes predictions up (an accuracy of 0.9, one in ten samples has a copy), and computes what `evaluate` puts
into metrics.json from them. Prints CPU seconds (user + system, all threads) and the peak memory.
"""

import argparse
import time

import numpy as np

from bench.peak_memory import peak_mib
from stages import evaluate
from stages.lib.gains import Costs
from stages.lib.truth import Entry, Truth


def made_truth(n: int, n_classes: int, rng: np.random.Generator) -> Truth:
    """Return n test samples and half as many of val; every tenth has a copy."""
    rows = n + n // 2
    groups = np.arange(rows)
    groups[9::10] = groups[8::10][: len(groups[9::10])]
    return Truth(
        sample_ids=tuple(f"s{row}" for row in range(rows)),
        split=np.array(["test"] * n + ["val"] * (n // 2)),
        labels=rng.integers(0, n_classes, rows),
        groups=np.unique(groups, return_inverse=True)[1],
        classes=tuple(f"class {k}" for k in range(n_classes)),
    )


def made_entry(name: str, truth: Truth, rng: np.random.Generator) -> Entry:
    """Return a prediction that is right in nine of ten samples."""
    k = len(truth.classes)
    said = np.where(rng.random(len(truth.labels)) < 0.9, truth.labels, rng.integers(0, k, len(truth.labels)))
    sure = rng.beta(8, 1, len(said))[:, None].clip(1 / k)
    probs = (1 - sure) / k + sure * np.eye(k)[said]
    return Entry(name, np.arange(len(said)), probs.astype(np.float32))


def main() -> None:
    """Make up, evaluate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predictions", type=int, default=10)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--draws", type=int, default=10_000)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    truth = made_truth(asked.samples, asked.classes, rng)
    first = ["dummy", "linear", "ensemble", "ensemble_tta", "student", "student_tta"]
    names = [*first, *(f"seed{seed}" for seed in range(max(0, asked.predictions - len(first))))]
    entries = {name: made_entry(name, truth, rng) for name in names[: asked.predictions]}
    params = evaluate.Params(
        bootstrap_draws=asked.draws,
        confidence=0.95,
        ece_bins=15,
        seed=0,
        top_k=3,
        max_answered_error=0.02,
        min_slice_size=20,
    )
    started = time.process_time()
    found = evaluate.figures(truth, entries, params, Costs(4, 5, 0.2))
    spent = time.process_time() - started
    print(
        f"{len(entries)} predictions x {asked.samples} samples x {asked.classes} classes, {asked.draws} "
        f"draws: {spent:.1f} CPU s, {peak_mib():.0f} MiB, {len(found['comparisons'])} pairs"
    )


if __name__ == "__main__":
    main()
