"""Nearest neighbours by faiss: exact up to EXACT_UP_TO rows, by an inverted-file index above it.

Exact search costs the square of the number of rows (60,000 of 160 numbers: 14 CPU seconds; 600,000 would be
25 minutes). The inverted file (Sivic & Zisserman, "Video Google", ICCV 2003; Johnson, Douze & Jégou, 2017)
clusters the rows and looks only into the PROBED clusters nearest to a query, so cost grows with about the
power 1.5. A copy lies next to its original, so nearly always in a probed cluster: bench/duplicates_growth.py
says how often.
Both give the same answer each time: clustering starts from a fixed seed, threads share queries only.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stages.lib.pooling import Floats
from stages.lib.progress import track
from stages.lib.scratch import scratch
from stages.lib.threads import THREADS

Indices = npt.NDArray[np.int64]

EXACT_UP_TO = 150_000
"""Rows; there both kinds of search cost about the same."""

CHUNK = 8192
"""Queries answered at once: what progress counts in, and a bound on working memory."""

PROBED = 24
"""Clusters that a query looks into."""

TRAINED_ON = 48
"""Rows a cluster is learned from (faiss warns under 39)."""


@dataclass(frozen=True)
class Found:
    """The nearest other rows of each row, nearest first: indices (n, k), distances (n, k) float32."""

    indices: Indices
    distances: Floats


def nearest(vectors: Floats, k: int) -> Indices:
    """Return the `k` nearest other rows of each row, nearest first: (n, d) -> (n, k); needs k < n."""
    return search(vectors, vectors, k).indices


def search(base: Floats, queries: Floats, k: int, exact_up_to: int | None = None) -> Found:
    """Find the `k` rows of base (n, d) nearest to each query (n, d), the query's own row left out; k < n."""
    import faiss

    if not 0 < k < len(base):
        raise ValueError(f"k must be in 1...{len(base) - 1}, received {k}")
    faiss.omp_set_num_threads(THREADS)
    few = len(base) <= (EXACT_UP_TO if exact_up_to is None else exact_up_to)
    index = _flat(base) if few else _inverted(base)
    indices, distances = scratch((len(base), k), np.int64), scratch((len(base), k), np.float32)
    for start in track(range(0, len(base), CHUNK), "neighbours sought, chunks"):
        rows = slice(start, start + CHUNK)
        squared, found = index.search(np.ascontiguousarray(queries[rows]), k + 1)
        others = ~_to_leave_out(found, start)
        indices[rows] = found[others].reshape(-1, k)
        distances[rows] = np.sqrt(np.maximum(squared[others].reshape(-1, k), 0))
    return _without_gaps(Found(indices, distances))


def _flat(base: Floats) -> Any:
    import faiss

    index = faiss.IndexFlatL2(base.shape[1])
    for start in range(0, len(base), CHUNK):
        index.add(np.ascontiguousarray(base[start : start + CHUNK]))
    return index


def _inverted(base: Floats) -> Any:
    """Cluster a spread of rows, then file all of them, as half-precision numbers, by cluster."""
    import faiss

    n, d = base.shape
    clusters = max(1, min(int(4 * np.sqrt(n)), n // TRAINED_ON))
    kind = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(faiss.IndexFlatL2(d), d, clusters, kind, faiss.METRIC_L2)
    index.cp.niter = 8
    index.nprobe = PROBED
    index.train(np.ascontiguousarray(base[:: max(1, n // (clusters * TRAINED_ON))]))
    for start in track(range(0, n, CHUNK), "vectors filed, chunks"):
        index.add(np.ascontiguousarray(base[start : start + CHUNK]))
    return index


def _to_leave_out(found: Indices, start: int = 0) -> npt.NDArray[np.bool_]:
    """Mark each row's own number, or the farthest where equal vectors crowd it out: (n, k + 1)."""
    own: npt.NDArray[np.bool_] = found == np.arange(start, start + len(found))[:, None]
    own[~own.any(1), -1] = True
    return own


def without_self(found: Indices) -> Indices:
    """Drop each row's own number, or the farthest where equal vectors crowd it out: (n, k + 1) -> (n, k)."""
    others: Indices = found[~_to_leave_out(found)].reshape(len(found), -1)
    return others


def _without_gaps(found: Found) -> Found:
    """Fill places that an inverted file left empty (too few rows in the probed clusters) by the last one
    found.

    A row that found nobody gets its successor, infinitely far away.
    """
    alone = np.flatnonzero(found.indices[:, 0] < 0)
    found.indices[alone, 0] = (alone + 1) % len(found.indices)
    found.distances[alone, 0] = np.inf
    for row in np.flatnonzero(found.indices[:, -1] < 0).tolist():  # faiss leaves places empty at the end only
        filled = int((found.indices[row] >= 0).sum())
        found.indices[row, filled:] = found.indices[row, filled - 1]
        found.distances[row, filled:] = found.distances[row, filled - 1]
    return found
