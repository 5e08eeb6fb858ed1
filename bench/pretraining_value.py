"""Is pretraining without labels worth anything on photographs? CIFAR-10, 1,000 labels.

    python -m bench.pretraining_value [--seeds 5] [--draws 5] [--unlabelled 48500] [--pretrain-epochs 8]
                                      [--epochs 40]

Reads CIFAR-10 from the shared data (ASSAY_SHARED_DATA, or ../shared/data). For each seed 1,000 of the 50,000
training images keep their label, 100 a class; half as many again are val, to look at. A body is pretrained on
`--unlabelled` of the others, whose labels nothing reads, by the stage `pretrain`; then the stage `train`
fine-tunes it, and trains the same network from random weights, with the same recipe. Prints the test accuracy
of both on the 10,000 test images, and the mean difference with its 95 % interval (Student's t over the seeds,
which pair the draw of the labels, the head and the order). There are as many draws of labels as seeds, each
with a body of its own; with fewer `--draws`, seeds share them, and the interval is about these draws alone.
One thread.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from bench.cifar10_images import read
from stages import pretrain, train
from stages.lib import device
from stages.lib.augment import Augmentation
from stages.lib.class_plan import ClassPlan
from stages.lib.config import load_section
from stages.lib.dataset import Dataset
from stages.lib.normalise import fit_normalisation
from stages.lib.tasks import as_images
from stages.lib.training_data import architecture_for
from stages.lib.views import PLAIN, class_probs
from stages.lib.weights import ENCODER, Card, save_weights

LABELLED, VAL = 1000, 500
VIEWS = {"flip": True, "crop_pixels": 4, "padding": "reflection"}
STILL = {"rotation_degrees": 0.0, "shift": 0.0, "zoom": 0.0, "aspect": 0.0, "shear": 0.0}
WIDTHS = (32, 64, 128)


def drawn(labels: np.ndarray, unlabelled: int, seed: int) -> np.ndarray:
    """Return the split (N,): LABELLED train and VAL val images, even over classes, and the rest's share."""
    rng = np.random.default_rng(seed)
    split = np.full(len(labels), "", dtype="<U10")
    n_classes = labels.max() + 1
    for label in range(n_classes):
        mine = rng.permutation(np.flatnonzero(labels == label))
        train_n, val_n = LABELLED // n_classes, VAL // n_classes
        split[mine[:train_n]] = "train"
        split[mine[train_n : train_n + val_n]] = "val"
    rest = rng.permutation(np.flatnonzero(split == ""))
    split[rest[:unlabelled]] = "unlabelled"
    return split


def dataset_of(
    pixels: np.ndarray, labels: np.ndarray, split: np.ndarray, classes: tuple[str, ...]
) -> Dataset:
    """Return the data set as the stages see it: who is unlabelled has no label."""
    known = np.where(np.isin(split, ("train", "val")), labels, -1)
    return Dataset(tuple(f"s{at:05}" for at in range(len(split))), pixels, known, split, classes)


def pretrained(dataset: Dataset, folder: Path, epochs: int, seed: int) -> Path:
    """Do what the stage `pretrain` does after reading, and return its encoder."""
    params = load_section(pretrain.Params, "pretrain").model_copy(update={"epochs": epochs, "seed": seed})
    normalisation = fit_normalisation(dataset.pixels[dataset.part("train")])
    architecture = architecture_for(dataset, WIDTHS)
    recipe = params.one_phase("reconstruct", Augmentation(flip=True, crop_pixels=4, padding="reflection"))
    recipe = replace(recipe, batch_size=128)
    state = pretrain.fit_autoencoder(dataset, normalisation, architecture, params, recipe)
    path = folder / ENCODER
    body = state.averaged.get_submodule("body").state_dict()
    save_weights(path, body, Card("encoder", architecture, dataset.classes, normalisation, {}))
    return path


def accuracy(dataset: Dataset, encoder: Path, init: str, epochs: int, seed: int, test: Dataset) -> float:
    """Train as the stage `train` does, from `init`; return the accuracy on all test images."""
    params = load_section(train.Params, "train")
    views = params.augment.model_copy(update=VIEWS | STILL)
    head = 5 if init == "pretrain" else 0
    changes = {"init": init, "epochs": epochs - head, "head_epochs": head, "widths": WIDTHS, "augment": views}
    params = params.model_copy(update=changes)
    plan = ClassPlan(np.ones(len(dataset.classes)), np.ones(len(dataset.classes)))
    state, card, _ = train.fit_classifier(dataset, plan, encoder, params, seed)
    probs = class_probs(
        state.averaged, as_images(test.pixels, torch.device("cpu")), card.normalisation, PLAIN
    )
    return float((probs.argmax(1).numpy() == test.labels).mean())


def main() -> None:
    """Print a row a seed, then the paired difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=0)
    parser.add_argument("--unlabelled", type=int, default=49_000 - VAL)
    parser.add_argument("--pretrain-epochs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=40)
    asked = parser.parse_args()
    # A second thread costs more CPU time than it saves wall time.
    device.THREADS = 1  # type: ignore[attr-defined]
    pixels, labels, classes = read("train")
    test_pixels, test_labels, _ = read("test")
    ids = tuple(f"t{at:05}" for at in range(len(test_labels)))
    test = Dataset(ids, test_pixels, test_labels, np.full(len(ids), "test"), classes)
    gains: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        encoders: dict[int, Path] = {}
        for seed in range(asked.seeds):
            started = time.process_time()
            draw = seed % (asked.draws or asked.seeds)
            dataset = dataset_of(pixels, labels, drawn(labels, asked.unlabelled, draw), classes)
            if draw not in encoders:
                place = Path(folder) / str(draw)
                place.mkdir()
                encoders[draw] = pretrained(dataset, place, asked.pretrain_epochs, draw)
            found = {
                init: accuracy(dataset, encoders[draw], init, asked.epochs, seed, test)
                for init in ("pretrain", "random")
            }
            gains.append(found["pretrain"] - found["random"])
            spent = time.process_time() - started
            print(
                f"seed {seed}, draw {draw}: pretrained {found['pretrain']:.4f}, "
                f"random {found['random']:.4f}, difference {gains[-1]:+.4f} ({spent:.0f} CPU s)",
                flush=True,
            )
    if len(gains) > 1:
        half = stats.t.ppf(0.975, len(gains) - 1) * np.std(gains, ddof=1) / len(gains) ** 0.5
        print(f"mean difference {np.mean(gains):+.4f} ± {half:.4f} (95 %, n = {len(gains)} seeds)")


if __name__ == "__main__":
    main()
