"""Large working arrays that live in an unnamed temporary file, so that memory does not bound their size."""

import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

IN_MEMORY_BYTES = 512 * 2**20
"""Arrays up to this size stay in memory."""


def scratch(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an uninitialised array; a large one is mapped to a file that goes when the array does."""
    if int(np.prod(shape)) * np.dtype(dtype).itemsize <= IN_MEMORY_BYTES:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)
