"""The handwritten digits inside scikit-learn: 1,797 grey images of 8 × 8 pixels, values 0 … 16, ten classes.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998), the test part, as
`sklearn.datasets.load_digits` gives it. The package's file is read without importing scikit-learn (1.9 CPU
seconds for one small table).
"""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from stages.lib.errors import MachineError

_PLACE = "datasets/data/digits.csv.gz"
_SHAPE = (1797, 65)
_DARKEST = 16


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return images (1797, 8, 8) uint8 with the values 0 … 16, and labels (1797,) int64 with 0 … 9."""
    with gzip.open(_file(), "rb") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    if table.shape != _SHAPE or table.min() < 0 or table.max() > _DARKEST:
        raise MachineError(f"scikit-learn's {_PLACE} is another table: install the locked version")
    return table[:, :-1].reshape(-1, 8, 8).astype(np.uint8), table[:, -1]


def _file() -> Path:
    spec = find_spec("sklearn")
    places = spec.submodule_search_locations if spec else None
    found = [path for place in places or [] if (path := Path(place) / _PLACE).is_file()]
    if not found:
        raise MachineError(f"scikit-learn's {_PLACE} is missing: install requirements.lock")
    return found[0]


def to_8_bit(images: np.ndarray) -> np.ndarray:
    """Scale 0 … 16 to 0 … 255 uint8, to the nearest whole number, halves up (8 becomes 128)."""
    scaled = (images.astype(np.int64) * 255 + _DARKEST // 2) // _DARKEST
    return scaled.astype(np.uint8)
