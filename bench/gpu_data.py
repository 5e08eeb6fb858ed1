"""CIFAR-10 on the device, for the rows of bench/gpu.py."""

from dataclasses import dataclass

import numpy as np
import torch

from bench import airbench_method as theirs
from bench.cifar10_images import read
from stages.lib.normalise import Normalisation, fit_normalisation
from stages.lib.tasks import as_images

SMALL = 600
VAL_SHARE = 0.1


@dataclass(frozen=True)
class Data:
    """Train and test pictures on the device, as (N, 3, 32, 32) uint8, and how they are normalised."""

    train: theirs.Pictures
    test: theirs.Pictures
    host: np.ndarray
    normalisation: Normalisation

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.train.pixels.device

    def clock(self) -> float:
        """Return wall seconds, with all work on the device done."""
        return theirs.clock(self.device)


def held_out(data: Data) -> Data:
    """Return its training pictures with the last VAL_SHARE of them in the place of the test pictures."""
    kept = round(len(data.host) * (1 - VAL_SHARE))
    pixels, labels = data.train.pixels, data.train.labels
    return Data(
        theirs.Pictures(pixels[:kept], labels[:kept]),
        theirs.Pictures(pixels[kept:], labels[kept:]),
        data.host[:kept],
        fit_normalisation(data.host[:kept]),
    )


def load(device: torch.device, small: bool) -> Data:
    """Read and decode; with `small`, a few of each."""
    pixels, labels, _ = read("train", SMALL if small else None)
    test_pixels, test_labels, _ = read("test", SMALL if small else None)

    def there(images: np.ndarray, classes: np.ndarray) -> theirs.Pictures:
        return theirs.Pictures(as_images(images, device), torch.from_numpy(classes).to(device))

    return Data(there(pixels, labels), there(test_pixels, test_labels), pixels, fit_normalisation(pixels))
