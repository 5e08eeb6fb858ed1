"""One thread count on every machine: another one gives other (each stable) bits in sums and so in weights."""

import os

THREADS = 2
"""Two cores are what a laptop surely has; digits networks gain nothing from more."""

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def pin_threads(count: int = THREADS) -> None:
    """Hold libraries that are loaded (numpy's BLAS) and those loaded later (torch, faiss) to `count`."""
    from threadpoolctl import threadpool_limits

    for variable in _VARIABLES:
        os.environ[variable] = str(count)
    threadpool_limits(limits=count)
