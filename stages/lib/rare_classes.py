"""Classes too small to be in every part of the split: an error that names them, or out of its way."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from stages.lib.assignment import PLACES, TEST, TRAIN
from stages.lib.shares import Supervised

RareClasses = Literal["error", "train_only", "drop"]


def rare_message(classes: Sequence[str], counts: np.ndarray, rare: np.ndarray, least: int) -> str:
    """Return the error for classes `rare` (R,) with counts (K, 3) that lack `least` samples in a part."""
    lines = [
        f"  {classes[row]!r}: {counts[row].sum()} samples, of which "
        + ", ".join(f"{n} in {part}" for part, n in zip(PLACES, counts[row].tolist(), strict=True))
        for row in rare[:20].tolist()
    ]
    more = [f"  … and {len(rare) - 20} more"] if len(rare) > 20 else []
    return "\n".join(
        [
            f"{len(rare)} of {len(classes)} classes have fewer than {least} samples in a split "
            "(split.min_per_class; samples of one group cannot be parted):",
            *lines,
            *more,
            "Add images to these classes, merge them with others, look for another split.salt "
            "(`assay salt`), or set split.rare_classes to train_only (learn them, but measure nothing on "
            "them) or drop (leave them out).",
        ]
    )


def set_rare_apart(
    pool: Supervised, place: np.ndarray, rare: np.ndarray, policy: RareClasses
) -> tuple[np.ndarray, np.ndarray]:
    """Return places and (P,) bool who sits out.

    `train_only` takes units that hold rare classes alone to train; a rare sample that lies in test, whose
    companions lie in val, or whose place is official, cannot follow and sits out.
    """
    is_rare = np.isin(pool.labels, rare)
    if policy == "drop":
        return place, is_rare
    common_units = np.unique(pool.unit[~is_rare])
    may_go = is_rare & ~pool.fixed & (place != TEST) & ~np.isin(pool.unit, common_units)
    moved = np.where(may_go, TRAIN, place).astype(np.int8)
    return moved, is_rare & (moved != TRAIN)
