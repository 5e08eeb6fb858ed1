import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from stages.lib.digits import read_digits, to_8_bit


def test_the_digits_are_scikit_learns() -> None:
    images, labels = read_digits()
    theirs = load_digits()
    np.testing.assert_array_equal(images, theirs.images)
    np.testing.assert_array_equal(labels, theirs.target)


def test_reading_digits_does_not_import_scikit_learn() -> None:
    code = "import sys; from stages.lib import digits; digits.read_digits(); print('sklearn' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_seventeen_values_spread_over_eight_bits() -> None:
    scaled = to_8_bit(np.arange(17, dtype=np.uint8))
    assert scaled.dtype == np.uint8
    assert scaled[[0, 8, 16]].tolist() == [0, 128, 255]
    assert np.abs(scaled - np.arange(17) * 255 / 16).max() <= 0.5
    assert len(set(scaled.tolist())) == 17
