"""Connected components: what belongs together because each neighbour does (union-find, Tarjan 1975)."""

from collections.abc import Iterable, Sequence

import numpy as np


def components(n: int, pairs: Iterable[tuple[int, int]]) -> np.ndarray:
    """Return (n,) int64: the component of each node, numbered by first appearance."""
    parent = list(range(n))

    def root(node: int) -> int:
        while parent[node] != node:
            # Path halving keeps trees flat without recursion.
            parent[node] = node = parent[parent[node]]
        return node

    for left, right in pairs:
        a, b = root(left), root(right)
        parent[max(a, b)] = min(a, b)
    roots = np.array([root(node) for node in range(n)], np.int64)
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def joined_groups(*namings: Sequence[str | None]) -> np.ndarray:
    """Number the groups (N,) int64 that arise when samples sharing a name in any naming belong together."""
    pairs: list[tuple[int, int]] = []
    for names in namings:
        first: dict[str, int] = {}
        pairs += [(first.setdefault(name, row), row) for row, name in enumerate(names) if name is not None]
    return components(len(namings[0]), pairs)
