"""human.json: what people's votes on the test images say about people."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np

from stages.lib import agreement
from stages.lib.human_accuracy import independent_accuracy, one_person
from stages.lib.human_votes import Votes
from stages.lib.intervals import wilson

CONFIDENCE = 0.95
"""The level of the intervals; only shown, nothing is decided by it."""

NOT_MEASURED = (
    "no annotations: no image has votes of two people. Without independent opinions nobody knows whether the "
    "errors that remain are the model's or the labels', nor whether a higher accuracy is possible at all. To "
    "measure it, let two or more people label the test images independently: one column a person named "
    "annotator_<name>, a column of counts (ingest.human_counts), or data/review/annotations.csv with columns "
    "sample_id, annotator, label; and run the chain again."
)


def human_figures(votes: Votes, labels: np.ndarray, probs: np.ndarray, *, own_labels: bool) -> dict[str, Any]:
    """Return human.json for the votes on test images with labels (N,) and a classifier's probs (N, K).

    own_labels: the labels are not made of these votes, so that votes can be held against them.
    """
    counts = votes.counts
    if not (counts.sum(axis=1) > 1).any():
        return {"measured": False, "reason": NOT_MEASURED}
    found = agreement.with_others(votes.said, counts)
    unnamed = _unnamed(votes)
    equal, total = (sum(both) for both in zip(*found, unnamed, strict=True))
    return {
        "measured": True,
        "agreement_with_others": equal / total if total else None,
        "n": total,
        "annotators": _people(votes, found),
        "agreement": _agreement(votes, counts),
        "majority": _majority(counts, labels, own_labels=own_labels),
        "one_person": _one_person(counts, probs),
        "against_labels": _against_labels(counts, labels) if own_labels else None,
    }


def _unnamed(votes: Votes) -> tuple[int, int]:
    """Return how often votes without a name equal the majority of all others, and of how many."""
    if not votes.unnamed.any():
        return 0, 0
    named = votes.counts - votes.unnamed
    return agreement.unnamed_with_others(votes.unnamed, named)


def _people(votes: Votes, found: list[tuple[int, int]]) -> Mapping[str, Any]:
    return {
        name: {"agreement": equal / n, "ci": list(wilson(equal, n, CONFIDENCE)), "n": n}
        for name, (equal, n) in zip(votes.names, found, strict=True)
        if n
    }


def _agreement(votes: Votes, counts: np.ndarray) -> dict[str, Any]:
    n_classes = counts.shape[1]
    kappas = {
        f"{votes.names[a]}, {votes.names[b]}": kappa
        for a, b in combinations(range(len(votes.names)), 2)
        if (kappa := agreement.cohen_kappa(votes.said[:, a], votes.said[:, b], n_classes)) is not None
    }
    return {
        "n": int((counts.sum(axis=1) > 1).sum()),
        "two_people": agreement.pair_agreement(counts),
        "cohen_kappa": kappas,
        "cohen_kappa_mean": fmean(kappas.values()) if kappas else None,
        "fleiss_kappa": agreement.fleiss_kappa(counts),
        "krippendorff_alpha": agreement.krippendorff_alpha(counts),
    }


def _majority(counts: np.ndarray, labels: np.ndarray, *, own_labels: bool) -> dict[str, Any]:
    """Say how often people have a majority, and how often that is the given label."""
    voted = counts.sum(axis=1) > 1
    said = agreement.majority(counts)
    sizes = {"n_voted": int(voted.sum()), "n_ties": int((voted & (said < 0)).sum())}
    clear = voted & (said >= 0) & (labels >= 0)
    n, equal = int(clear.sum()), int((said == labels)[clear].sum())
    if not own_labels or not n:
        return sizes
    return sizes | {"n": n, "equals_label": equal / n, "ci": list(wilson(equal, n, CONFIDENCE))}


def _one_person(counts: np.ndarray, probs: np.ndarray) -> dict[str, Any]:
    found = asdict(one_person(counts, probs, CONFIDENCE))
    found["interval"] = list(found["interval"])
    naive = independent_accuracy(agreement.pair_agreement(counts), counts.shape[1])
    return found | {"confidence": CONFIDENCE, "if_errors_were_independent": naive}


def _against_labels(counts: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Hold single votes against the labels: an accuracy only if the labels were not made from these votes."""
    rows = np.flatnonzero((labels >= 0) & (counts.sum(axis=1) > 0))
    n_votes = int(counts[rows].sum())
    equal = int(counts[rows, labels[rows]].sum())
    return {"n_samples": len(rows), "n_votes": n_votes, "agreement": equal / n_votes if n_votes else None}
