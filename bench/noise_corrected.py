"""Is the true accuracy recovered from a test set with wrong labels, when a random few are checked?

    python -m bench.noise_corrected [--repeats 1000] [--samples 2000] [--checked 200]

Reads `cifar10/train.parquet` of the shared data (ASSAY_SHARED_DATA, or ../shared/data): CIFAR-10N, 50,000
images with labels of three annotators and the clean ones. Test sets are --samples images drawn at random with
annotator 1's labels (17 % wrong); --checked of them have the clean label in place of an audit. Two models:
annotator 2, who errs on the same pictures, and a linear model on HOG features, learned from 10,000 images
with annotator 3's labels (drawn from the others). Truth is their accuracy by clean labels over all images.
Printed: coverage of the 95 % interval, its mean width, mean error; the same error without correction, and
corrected as if label errors were independent of the model's.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bench.human_baseline import CLASSES, pixels_of
from stages.lib.audit import corrected
from stages.lib.hog import hog

K = 10
ROOT = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10"
N_TRAIN = 10_000


def columns() -> dict[str, np.ndarray]:
    """Return the labels of annotators 1 to 3 and the clean ones, as positions."""
    place = {name: position for position, name in enumerate(CLASSES)}
    names = ["annotator_1", "annotator_2", "annotator_3", "clean_label"]
    table = pq.read_table(ROOT / "train.parquet", columns=names)
    return {name: np.array([place[said] for said in table[name].to_pylist()]) for name in names}


def linear_model(given: np.ndarray) -> np.ndarray:
    """Return what a linear model, learned from the first N_TRAIN images, names all others."""
    from sklearn.linear_model import SGDClassifier

    images = pq.read_table(ROOT / "train.parquet", columns=["image"])["image"]
    features = []
    for start in range(0, len(images), 5000):
        grey = pixels_of(images.slice(start, 5000).to_pylist()).mean(axis=3).astype(np.float32) / 255
        features.append(hog(grey, 4, 8))
    described = np.concatenate(features)
    model = SGDClassifier(loss="log_loss", alpha=1e-4, random_state=0)
    return np.asarray(model.fit(described[:N_TRAIN], given[:N_TRAIN]).predict(described[N_TRAIN:]))


def as_if_independent(by_label: float, noise: float) -> float:
    """Return the accuracy if label errors were uniform and independent of the model's."""
    slip = noise / (K - 1)
    return (by_label - slip) / (1 - noise - slip)


def measure(
    name: str, said: np.ndarray, given: np.ndarray, clean: np.ndarray, asked: argparse.Namespace
) -> None:
    """Draw test sets, correct, print."""
    truth = float((said == clean).mean())
    rng = np.random.default_rng(0)
    held, width, error, naive, independent = [], [], [], [], []
    for repeat in range(asked.repeats):
        rows = rng.choice(len(said), asked.samples, replace=False)
        checked = np.where(np.arange(len(rows)) < asked.checked, clean[rows], -1)
        found = corrected(said[rows], given[rows], checked, np.arange(len(rows)), 500, 0.95, repeat)
        assert found is not None
        low, high = found["top1_accuracy_ci"]
        by_label = float((said[rows] == given[rows]).mean())
        held.append(low <= truth <= high)
        width.append(high - low)
        error.append(found["top1_accuracy"] - truth)
        naive.append(by_label - truth)
        independent.append(as_if_independent(by_label, float((given != clean).mean())) - truth)
    points = [100 * float(np.mean(values)) for values in (width, error, naive, independent)]
    shift, spread = points[1], 100 * np.std(error)
    print(f"{name}: truth {truth:.4f}, coverage {np.mean(held):.3f}, width {points[0]:.1f} points")
    print(
        f"  error {shift:+.2f} ± {spread:.2f}; by label {points[2]:+.1f}, independent {points[3]:+.1f} points"
    )


def main() -> None:
    """Read, learn, draw, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--checked", type=int, default=200)
    asked = parser.parse_args()
    given = columns()
    clean = given["clean_label"]
    measure("annotator 2", given["annotator_2"], given["annotator_1"], clean, asked)
    said = linear_model(given["annotator_3"])
    measure("linear on HOG", said, given["annotator_1"][N_TRAIN:], clean[N_TRAIN:], asked)
    print(f"CPU seconds {time.process_time():.0f}")


if __name__ == "__main__":
    main()
