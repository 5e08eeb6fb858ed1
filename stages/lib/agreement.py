"""How far people agree with each other, beyond what chance would give them.

said (N, A) are class positions, -1 where a person did not vote; counts (N, K) are votes per class.
"""

import numpy as np


def vote_counts(said: np.ndarray, n_classes: int) -> np.ndarray:
    """Count the votes of said (N, A) for each class: (N, K) int64."""
    return np.asarray((said[:, :, None] == np.arange(n_classes)).sum(axis=1))


def with_others(said: np.ndarray, counts: np.ndarray) -> list[tuple[int, int]]:
    """Return for each person of said (N, A) how often they equal the majority of the others, and of how many.

    `counts` (N, K) hold everybody's votes, theirs too. A sample counts where the person voted and one class
    has strictly most of the others' votes.
    """
    found = []
    for person in said.T:
        others = counts - (person[:, None] == np.arange(counts.shape[1]))
        clear, first = _clear(others)
        judged = clear & (person >= 0)
        found.append((int((first == person)[judged].sum()), int(judged.sum())))
    return found


def unnamed_with_others(counts: np.ndarray, more: np.ndarray) -> tuple[int, int]:
    """Return the same for votes (N, K) whose givers are unknown, together; `more` (N, K) are other votes."""
    equal = judged = 0
    for k in np.flatnonzero(counts.sum(axis=0)):
        others = counts + more
        others[:, k] -= 1
        clear, first = _clear(others)
        votes = np.where(clear, counts[:, k], 0)
        equal += int(votes[first == k].sum())
        judged += int(votes.sum())
    return equal, judged


def majority(counts: np.ndarray) -> np.ndarray:
    """Return the class with strictly most votes (N,), -1 where there is none."""
    clear, first = _clear(counts)
    return np.where(clear, first, -1)


def _clear(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    top = counts.max(axis=1)
    return (top > 0) & ((counts == top[:, None]).sum(axis=1) == 1), counts.argmax(axis=1)


def pair_agreement(counts: np.ndarray) -> float:
    """Return how often two people say the same of a sample: the mean over samples with two votes or more."""
    n = counts.sum(axis=1)
    several = n > 1
    counts, n = counts[several], n[several]
    return float(((counts * (counts - 1)).sum(axis=1) / (n * (n - 1))).mean())


def cohen_kappa(one: np.ndarray, other: np.ndarray, n_classes: int) -> float | None:
    """Return Cohen's kappa (1960) of two people (N,) on what both judged; None where chance explains all."""
    both = (one >= 0) & (other >= 0)
    if not both.any():
        return None
    shares = [np.bincount(person[both], minlength=n_classes) / both.sum() for person in (one, other)]
    return _beyond_chance(float((one == other)[both].mean()), float(shares[0] @ shares[1]))


def fleiss_kappa(counts: np.ndarray) -> float | None:
    """Return Fleiss' kappa (1971); samples may differ in number of votes, those with one do not count."""
    several = counts[counts.sum(axis=1) > 1]
    if not len(several):
        return None
    shares = several.sum(axis=0) / several.sum()
    return _beyond_chance(pair_agreement(several), float(shares @ shares))


def krippendorff_alpha(counts: np.ndarray) -> float | None:
    """Return Krippendorff's alpha for names (1970): any number of votes, and right for few of them."""
    several = counts[counts.sum(axis=1) > 1].astype(np.float64)
    if not len(several):
        return None
    n, of_class = several.sum(axis=1), several.sum(axis=0)
    total = n.sum()
    observed = ((n**2 - (several**2).sum(axis=1)) / (n - 1)).sum() / total
    expected = (total**2 - (of_class**2).sum()) / (total * (total - 1))
    return None if expected == 0 else float(1 - observed / expected)


def _beyond_chance(agreement: float, chance: float) -> float | None:
    return None if chance >= 1 else (agreement - chance) / (1 - chance)
