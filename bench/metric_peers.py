"""Are our metrics those of torchmetrics?

    pip install --no-deps --target FOLDER torchmetrics lightning-utilities
    PYTHONPATH=.:FOLDER python -m bench.metric_peers [--cases 300]

torchmetrics is no dependency of this project. Prints the largest difference of each metric over random cases
(5 to 200 samples, 3 to 8 classes that all occur, blunt to sharp probabilities). torchmetrics turns accuracies
and calibration errors into float32, so that a tenth of a millionth is equality there. The tests hold the same
metrics to scikit-learn's within 1e-9.
"""

import argparse

import numpy as np

from stages.lib import metrics
from stages.lib.auroc import auroc

BINS = 15


def pairs(probs: np.ndarray, labels: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return (ours, theirs) by metric."""
    import torch
    from torchmetrics.functional import classification as peer

    k = probs.shape[1]
    theirs, truth = torch.tensor(probs), torch.tensor(labels)
    counts = metrics.confusion(labels, metrics.top1(probs), k)
    calibration = metrics.ece(metrics.calibration_table(probs, labels, BINS))

    def accuracy(average: str, top_k: int = 1) -> float:
        return float(peer.multiclass_accuracy(theirs, truth, k, average=average, top_k=top_k))

    return {
        "top-1": (metrics.top1_accuracy(counts), accuracy("micro")),
        "top-2": (metrics.topk_accuracy(probs, labels, 2), accuracy("micro", 2)),
        "balanced accuracy": (metrics.balanced_accuracy(counts), accuracy("macro")),
        "macro-F1": (metrics.macro_f1(counts), float(peer.multiclass_f1_score(theirs, truth, k))),
        "ECE": (calibration, float(peer.multiclass_calibration_error(theirs, truth, k, n_bins=BINS))),
        "AUROC": (auroc(probs, labels) or 0.0, float(peer.multiclass_auroc(theirs, truth, k))),
    }


def main() -> None:
    """Draw cases, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=300)
    import torch

    torch.set_default_dtype(torch.float64)
    rng = np.random.default_rng(0)
    worst: dict[str, float] = {}
    for _ in range(parser.parse_args().cases):
        n, k = int(rng.integers(10, 201)), int(rng.integers(3, 9))
        probs = rng.dirichlet(np.full(k, rng.choice([0.3, 1.0, 20.0])), n)
        probs /= probs.sum(axis=1, keepdims=True)
        labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
        for name, (ours, theirs) in pairs(probs, labels).items():
            worst[name] = max(worst.get(name, 0.0), abs(ours - theirs))
    for name, difference in worst.items():
        print(f"{name:18s} {difference:.1e}")


if __name__ == "__main__":
    main()
