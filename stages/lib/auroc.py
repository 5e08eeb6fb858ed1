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


def auroc_pseudo_values(pred_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return one value a sample (N,) float64 whose mean is `auroc` and whose spread is that of the mean area.

    The structural components of DeLong et al. 1988 by ranks (Sun & Xu 2014), as influences on the mean over
    classes: N log N a class instead of one comparison a pair. NaN where there is no such class.
    """
    n, n_classes = pred_probs.shape
    moved, known = np.zeros(n), 0
    total = 0.0
    for k in range(n_classes):
        positive = labels == k
        n_positive = int(positive.sum())
        n_others = n - n_positive
        if not n_positive or not n_others:
            continue
        overall = mid_ranks(pred_probs[:, k])
        among = np.empty(n)
        among[positive] = mid_ranks(pred_probs[positive, k])
        among[~positive] = mid_ranks(pred_probs[~positive, k])
        # How many of the other kind lie below (of a positive), or above (of another), equals counting half.
        beaten = overall - among
        component = np.where(positive, beaten / n_others, 1 - beaten / n_positive)
        area = float(component[positive].mean())
        moved += (component - area) * np.where(positive, n / n_positive, n / n_others)
        total += area
        known += 1
    return (total + moved) / known if known else np.full(n, np.nan)
