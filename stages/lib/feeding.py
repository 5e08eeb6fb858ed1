"""Batches of pixels: all on the device when they fit, else brought while the one before is learned.

Both ways give the same bytes in the same order in memory. `ASSAY_IMAGES` is `auto` (stream where the images
take more than half of a GPU's free memory), `resident` or `stream`: environment, for it changes no result.
"""

import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from stages.lib.errors import MachineError
from stages.lib.tasks import as_images

VARIABLE = "ASSAY_IMAGES"
AHEAD, WORKERS = 3, 2
"""Batches under way, and threads that gather them: reading and copying leave Python's lock alone."""

FREE_SHARE = 0.5
"""Of a GPU's free memory; the rest is for the network's activations."""


def must_stream(n_bytes: int, device: torch.device) -> bool:
    """Say whether images of `n_bytes` stay on the host."""
    asked = os.environ.get(VARIABLE) or "auto"
    if asked not in ("auto", "resident", "stream"):
        raise MachineError(f"{VARIABLE}={asked}: expected auto, resident or stream")
    if asked != "auto" or device.type != "cuda":
        return asked == "stream"
    return n_bytes > FREE_SHARE * torch.cuda.mem_get_info(device)[0]


def images_near(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
    """View pixels (N, H, W, C) uint8 as images on the device, or on the host where they must stay there.

    For images that are looked at in chunks by what takes each chunk to the network's device itself.
    """
    return as_images(pixels, torch.device("cpu") if must_stream(pixels.nbytes, device) else device)


class HostImages:
    """Images (N, H, W, C) uint8 in memory or mapped from disk, of which `rows` (M,) are meant."""

    def __init__(self, pixels: np.ndarray, rows: np.ndarray, device: torch.device) -> None:
        self.device = device
        self.shape = torch.Size((len(rows), pixels.shape[3], *pixels.shape[1:3]))
        self._pixels, self._rows = pixels, rows

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """Bring images (B, C, H, W) uint8 at `index` (B,) to the device, channels_last in memory."""
        found = torch.from_numpy(self._pixels[self._rows[index.cpu().numpy()]])
        if self.device.type == "cuda":
            found = found.pin_memory()
        return found.to(self.device, non_blocking=True).permute(0, 3, 1, 2)

    def batches(self, order: Sequence[torch.Tensor]) -> Generator[torch.Tensor]:
        """Yield the batches of `order`, some brought ahead."""
        waiting: deque[Future[torch.Tensor]] = deque()
        with ThreadPoolExecutor(WORKERS) as workers:
            try:
                for index in order:
                    waiting.append(workers.submit(self.gather, index))
                    if len(waiting) > AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for one in waiting:
                    one.cancel()
