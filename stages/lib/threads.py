"""One thread count on every machine: another one gives other (each stable) bits in sums and so in weights."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = 2
"""Two cores are what a laptop surely has; digits networks gain nothing from more."""

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def pin_threads(count: int = THREADS) -> None:
    """Hold libraries that are loaded (numpy's BLAS) and those loaded later (torch, faiss) to `count`."""
    from threadpoolctl import threadpool_limits

    for variable in _VARIABLES:
        os.environ[variable] = str(count)
    threadpool_limits(limits=count)


ONE_BLAS_THREAD_BELOW = 10_000_000
"""Numbers in a matrix below which a second BLAS thread only spins: fits on digits took 4.7 and 13 CPU s with
two threads on busy cores, 0.1 and 0.3 with one. The choice hangs on the data alone: bytes stay the same."""


@contextmanager
def blas_threads_for(n_numbers: int) -> Iterator[None]:
    """Hold BLAS to one thread for small matrices, to THREADS for large ones."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1 if n_numbers < ONE_BLAS_THREAD_BELOW else THREADS, user_api="blas"):
        yield
