"""Divide the samples into train, val and test: own places, then what must stay together, then shares."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.lib.assignment import PLACES, TEST, TRAIN, Placement
from stages.lib.binding import NOBODY, Bound, bind, units_of
from stages.lib.errors import InputError
from stages.lib.rare_classes import RareClasses, rare_message, set_rare_apart
from stages.lib.shares import Supervised, class_counts, fill_test, hold_shares, lower_bounds


@dataclass(frozen=True)
class Policy:
    """How large the parts are, in the order of PLACES, and what must be in each."""

    fractions: tuple[float, float, float]
    share_tolerance: float
    min_per_class: int
    rare_classes: RareClasses


@dataclass(frozen=True)
class Samples:
    """The curated table, column by column, with each sample's near-duplicate group."""

    sample_ids: list[str]
    labels: list[str | None]
    status: list[str]
    rule_made: np.ndarray  # (N,) bool: a rule, no person, changed it
    near: list[str | None]
    group: list[str | None]
    hint: list[str | None]


@dataclass(frozen=True)
class Division:
    """The finished split.

    names (N,) text, empty for who sits out; why (N,) text, the reason of not lying where the hash says;
    leader (N,) int64: the sample that one follows or for which one sits out, NOBODY for none.
    """

    names: np.ndarray
    why: np.ndarray
    leader: np.ndarray
    classes: tuple[str, ...]
    rare: tuple[str, ...]


@dataclass(frozen=True)
class Chosen:
    """The M samples with a class: their positions, class numbers (M,) int64, and the classes' names."""

    rows: np.ndarray
    labels: np.ndarray
    classes: list[str]


@dataclass(frozen=True)
class Settled:
    """The P samples in a part: positions, labels, place before and after rare classes, and who sits out."""

    rows: np.ndarray
    labels: np.ndarray
    shared: np.ndarray
    place: np.ndarray
    out: np.ndarray
    rare: np.ndarray


def divide(samples: Samples, placement: Placement, policy: Policy) -> Division:
    """Place every kept sample; InputError where a class is missing from a part and the policy is `error`."""
    chosen = _choose(samples)
    filled = _with_floor(samples, placement, chosen, policy)
    used = np.zeros(len(samples.sample_ids), bool)
    used[chosen.rows] = True
    groupings = (samples.near, samples.group)
    bound = bind(filled, samples.sample_ids, groupings, used)
    used &= ~bound.out
    placed = chosen.rows[used[chosen.rows]]
    pool = Supervised(
        chosen.labels[used[chosen.rows]],
        units_of(groupings, used)[placed],
        filled.u[placed],
        filled.official[placed],
    )
    n_classes = len(chosen.classes)
    tied = class_counts(pool.labels, bound.place[placed], n_classes)
    bounds = lower_bounds(tied, policy.fractions, policy.share_tolerance, policy.min_per_class)
    place = hold_shares(pool, bound.place[placed], bounds, policy.fractions)
    counts = class_counts(pool.labels, place, n_classes)
    rare = np.flatnonzero((counts < policy.min_per_class).any(axis=1))
    if len(rare) and policy.rare_classes == "error":
        raise InputError(rare_message(chosen.classes, counts, rare, policy.min_per_class))
    final, out = set_rare_apart(pool, place, rare, policy.rare_classes)
    settled = Settled(placed, pool.labels, place, final, out, rare)
    return _division(samples, placement, bound, settled, chosen.classes)


def _choose(samples: Samples) -> Chosen:
    rows = np.flatnonzero(supervised_mask(samples.status, samples.labels))
    names, labels = np.unique([str(samples.labels[row]) for row in rows], return_inverse=True)
    classes = [str(name) for name in names]
    _require_two(classes)
    return Chosen(rows, labels.astype(np.int64), classes)


def supervised_mask(status: Sequence[str], labels: Sequence[str | None]) -> np.ndarray:
    """Return (N,) bool: kept samples that have a class."""
    return np.array(
        [s in ("keep", "relabel") and name is not None for s, name in zip(status, labels, strict=True)], bool
    )


def _require_two(classes: Sequence[str]) -> None:
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no labelled sample at all"
        raise InputError(
            f"samples.parquet holds {found}: a classifier needs two classes or more. Add images of "
            "another class (a second folder under the source, or other values in the label column)."
        )


def _with_floor(samples: Samples, placement: Placement, chosen: Chosen, policy: Policy) -> Placement:
    """Return the placement with a floor for each class in test.

    Not under `train_only`: there a class may be in train before it can be measured, and nothing that was in
    train may enter test.
    """
    if policy.rare_classes == "train_only":
        return placement
    alone = np.array([group is None for group in samples.group], bool)
    free = (alone & ~placement.official & ~samples.rule_made)[chosen.rows]
    place = placement.place.copy()
    place[chosen.rows] = fill_test(
        chosen.labels, place[chosen.rows], placement.u[chosen.rows], free, policy.min_per_class
    )
    return replace(placement, place=place)


def _division(
    samples: Samples, placement: Placement, bound: Bound, settled: Settled, classes: Sequence[str]
) -> Division:
    names = _unsupervised_names(samples)
    parts = np.array(PLACES, dtype=object)
    names[bound.out] = ""
    names[settled.rows] = np.where(settled.out, "", parts[settled.place])
    why = np.full(len(names), "", dtype=object)
    rows, own, tied = settled.rows, placement.place[settled.rows], bound.place[settled.rows]
    why[rows[tied != own]] = "class minimum"
    why[rows[(tied != own) & placement.lent[rows]]] = "official split"
    why[bound.leader != NOBODY] = "follows a copy"
    why[bound.out] = "copy elsewhere"
    why[rows[settled.shared != tied]] = "class share"
    changed = settled.out | (settled.place != settled.shared)
    why[rows[np.isin(settled.labels, settled.rare) & changed]] = "rare class"
    leader = bound.leader.copy()
    _hide_copies_of_test(samples.near, names, why, leader)
    trained = tuple(sorted({str(samples.labels[row]) for row in np.flatnonzero(names == PLACES[TRAIN])}))
    return Division(names, why, leader, trained, tuple(classes[row] for row in settled.rare))


def _unsupervised_names(samples: Samples) -> np.ndarray:
    rows = [
        {"neutral": "neutral", "drop": ""}.get(status, "unlabelled" if label is None else "")
        for status, label in zip(samples.status, samples.labels, strict=True)
    ]
    return np.array(rows, dtype=object)


def _hide_copies_of_test(
    near: Sequence[str | None], names: np.ndarray, why: np.ndarray, leader: np.ndarray
) -> None:
    """Take unlabelled near copies of test images out, in place: pretraining must not see a test image."""
    tested: dict[str, int] = {}
    for row in np.flatnonzero(names == PLACES[TEST]).tolist():
        group = near[row]
        if group is not None:
            tested.setdefault(group, row)
    for row in np.flatnonzero(names == "unlabelled").tolist():
        group = near[row]
        if group in tested:
            names[row], why[row], leader[row] = "", "copy of a test image", tested[group]
