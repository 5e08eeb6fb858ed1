"""Does a body that learned CIFAR-10 help with photographs of clothes? 420 of them, ten classes, by sender.

    python -m bench.cifar10 --save cifar10.safetensors
    python -m bench.transfer_value cifar10.safetensors [--seeds 5] [--epochs 60]

Reads the clothing sample of the shared data (ASSAY_SHARED_DATA, or ../shared/data): the classes with at least
MANY photographs, padded to squares of 32 pixels. For each seed a third of the senders is test; the stage
`train` trains the whitened network on the others twice, from the file (`init: file`, its head first) and from
random weights, with the same recipe and as many epochs. Prints both test accuracies, and the mean difference
with its 95 % interval (Student's t over the seeds, which pair the split, the head and the order). One thread.
"""

import argparse
import csv
import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import stats
from sklearn.model_selection import GroupShuffleSplit

from bench.cifar10 import TEN_MINUTES
from stages import train
from stages.lib import device
from stages.lib.class_plan import ClassPlan
from stages.lib.config import load_section
from stages.lib.dataset import Dataset
from stages.lib.nets import Body
from stages.lib.network_names import WHITENED
from stages.lib.normalise import fit_normalisation
from stages.lib.tasks import as_images
from stages.lib.training_data import architecture_for
from stages.lib.views import PLAIN, class_probs
from stages.lib.weights import ENCODER, Card, save_weights

MANY, SIDE, TEST_SHARE = 15, 32, 1 / 3
NEUTRAL = ("Not sure", "Other")
STILL = {"rotation_degrees": 0.0, "shift": 0.0, "zoom": 0.1, "aspect": 0.05, "shear": 0.0}
VIEWS = STILL | {"flip": True, "crop_pixels": 3, "padding": "border"}
RULE = {"kind": "muon", "momentum": 0.7, "matrix_rate": 0.06}


def read() -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return pixels (N, SIDE, SIDE, 3), labels (N,), senders (N,) and the classes."""
    folder = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "clothing-sample"
    with (folder / "images.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] not in NEUTRAL]
    names, counts = np.unique([row["label"] for row in rows], return_counts=True)
    classes = tuple(str(name) for name in names[counts >= MANY])
    rows = [row for row in rows if row["label"] in classes]
    pixels = [square(folder / "images" / f"{row['image']}.jpg") for row in rows]
    labels = [classes.index(row["label"]) for row in rows]
    return np.stack(pixels), np.array(labels), np.array([row["sender_id"] for row in rows]), classes


def square(path: Path) -> np.ndarray:
    """Return a photograph (SIDE, SIDE, 3) uint8, upright, padded to a square."""
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    return np.asarray(ImageOps.pad(upright, (SIDE, SIDE)))


def dataset_of(
    pixels: np.ndarray, labels: np.ndarray, senders: np.ndarray, classes: tuple[str, ...], seed: int
) -> Dataset:
    """Return the data set with a third of the senders in test and nothing in val."""
    splitter = GroupShuffleSplit(1, test_size=TEST_SHARE, random_state=seed)
    _, test = next(splitter.split(pixels, labels, senders))
    split = np.full(len(labels), "train")
    split[test] = "test"
    ids = tuple(f"s{at:04}" for at in range(len(labels)))
    return Dataset(ids, pixels, labels, split, classes)


def accuracy(dataset: Dataset, folder: Path, weights: Path | None, epochs: int, seed: int) -> float:
    """Train as the stage `train` does; return the accuracy on the test images."""
    params = load_section(train.Params, "train")
    plan = TEN_MINUTES
    head = 5 if weights else 0
    changes = {
        "network": WHITENED,
        "widths": plan.widths,
        "init": "file" if weights else "random",
        "init_file": str(weights or ""),
        "init_sha256": hashlib.sha256(weights.read_bytes()).hexdigest() if weights else "",
        "epochs": epochs - head,
        "head_epochs": head,
        "learning_rate": plan.learning_rate / 4,
        "label_smoothing": plan.label_smoothing,
        "precision": plan.precision,
        "optimizer": params.optimizer.model_copy(update=RULE),
        "augment": params.augment.model_copy(update=VIEWS),
    }
    architecture = architecture_for(dataset, plan.widths)
    normalisation = fit_normalisation(dataset.pixels[dataset.part("train")])
    body = Body(architecture.channels, architecture.widths).state_dict()
    encoder = folder / ENCODER
    save_weights(encoder, body, Card("encoder", architecture, dataset.classes, normalisation, {}))
    n = len(dataset.classes)
    even = ClassPlan(np.ones(n), np.ones(n))
    state, card, start = train.fit_classifier(dataset, even, encoder, params.model_copy(update=changes), seed)
    test = dataset.part("test")
    images = as_images(dataset.pixels[test], torch.device("cpu"))
    if weights and seed == 0:
        print(f"taken from {weights.name}: {start.facts['n_matched']} tensors", flush=True)
    found = class_probs(state.averaged, images, card.normalisation, PLAIN).argmax(1).numpy()
    return float((found == dataset.labels[test]).mean())


def main() -> None:
    """Print a row a seed, then the paired difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=60)
    asked = parser.parse_args()
    # A second thread costs more CPU time than it saves wall time.
    device.THREADS = 1  # type: ignore[attr-defined]
    pixels, labels, senders, classes = read()
    gains: list[float] = []
    for seed in range(asked.seeds):
        dataset = dataset_of(pixels, labels, senders, classes, seed)
        with tempfile.TemporaryDirectory() as folder:
            tuned, scratch = (
                accuracy(dataset, Path(folder), weights, asked.epochs, seed)
                for weights in (asked.weights, None)
            )
        gains.append(tuned - scratch)
        print(
            f"seed {seed}: {len(dataset.part('train'))} train, {len(dataset.part('test'))} test images, "
            f"from CIFAR-10 {tuned:.4f}, random {scratch:.4f}, difference {gains[-1]:+.4f}",
            flush=True,
        )
    half = stats.t.ppf(0.975, len(gains) - 1) * np.std(gains, ddof=1) / len(gains) ** 0.5
    print(f"mean difference {np.mean(gains):+.4f} ± {half:.4f} (95 %, n = {len(gains)} seeds)")


if __name__ == "__main__":
    main()
