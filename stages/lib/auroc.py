"""How well each class is told from the rest, whatever the threshold: area under the ROC curve, one-vs-rest.

The area is the chance that a sample of the class gets a higher probability of it than a sample of another
class (Mann and Whitney 1947), so ranks are all that is needed; equal probabilities count half.
"""

import numpy as np


def mid_ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank (N,) float64 of each value (N,), from 1; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[place])


def auroc_by_class(pred_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the area of each class (K,) float64; NaN where no sample, or every sample, is of the class."""
    found = np.full(pred_probs.shape[1], np.nan)
    for k in range(pred_probs.shape[1]):
        positive = labels == k
        n = int(positive.sum())
        if 0 < n < len(labels):
            above = mid_ranks(pred_probs[:, k])[positive].sum() - n * (n + 1) / 2
            found[k] = above / (n * (len(labels) - n))
    return found


def auroc(pred_probs: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the mean area over the classes that occur beside others; None where there is no such class."""
    areas = auroc_by_class(pred_probs, labels)
    known = areas[np.isfinite(areas)]
    return float(known.mean()) if len(known) else None
