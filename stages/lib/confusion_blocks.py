"""Blocks of classes taken for each other: what is left to show of a confusion matrix of many classes.

Pairs of classes are joined from the most confused on, as a share of their images (single linkage), while a
block stays small enough to be read. One error is chance, so a pair needs two.
"""

from dataclasses import dataclass

import numpy as np

MOST_IN_BLOCK = 8
FEWEST_ERRORS = 2


@dataclass(frozen=True)
class Block:
    """Classes by position, their number of test images, and how many of these were taken for a block mate."""

    classes: tuple[int, ...]
    n: int
    errors: int


def confusion_blocks(counts: np.ndarray) -> list[Block]:
    """Return the blocks of a confusion matrix (K, K), actual by predicted, the most errors first."""
    between = counts + counts.T
    np.fill_diagonal(between, 0)
    left, right = np.nonzero(np.triu(between >= FEWEST_ERRORS))
    actual = counts.sum(axis=1)
    shares = between[left, right] / np.maximum(actual[left] + actual[right], 1)
    block = {int(k): [int(k)] for k in np.union1d(left, right)}
    for at in np.lexsort((right, left, -shares)):
        first, second = block[int(left[at])], block[int(right[at])]
        if first is not second and len(first) + len(second) <= MOST_IN_BLOCK:
            first += second
            for k in second:
                block[k] = first
    distinct = {min(members): tuple(sorted(members)) for members in block.values() if len(members) > 1}
    found = [_block(counts, members) for members in distinct.values()]
    return sorted(found, key=lambda one: (-one.errors, one.classes))


def _block(counts: np.ndarray, members: tuple[int, ...]) -> Block:
    inside = counts[np.ix_(members, members)]
    errors = int(inside.sum() - np.trace(inside))
    return Block(members, int(counts[list(members)].sum()), errors)
