"""Small grey copies of all pictures, to compare them by: a kilobyte each."""

import numpy as np
import numpy.typing as npt

from stages.lib.pooling import grey, planes
from stages.lib.progress import track
from stages.lib.scratch import scratch

SIDE = 32
"""Pictures are compared at most this large. At 16, colour images of 32 x 32 moved by one pixel (half a pixel
at 16) no longer agree: 8 of 27 found, against 27 at 32."""

CHUNK_BYTES = 32 * 2**20


def thumbnails(pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Shrink the given rows of (n, s, s, c) to at most SIDE and take their luma: (len(rows), t, t)."""
    side = min(pixels.shape[1], SIDE)
    small: npt.NDArray[np.uint8] = scratch((len(rows), side, side), np.uint8)
    step = max(1, CHUNK_BYTES // (4 * int(np.prod(pixels.shape[1:]))))
    for start in track(range(0, len(rows), step), "thumbnails made, chunks"):
        part = planes(np.asarray(pixels[rows[start : start + step]]), SIDE)
        small[start : start + step] = np.rint(255 * grey(part))
    return small
