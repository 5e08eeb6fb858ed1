"""What does CIFAR-10 give in ten CPU minutes, with the whitened network in this project's own loop?

    python -m bench.cifar10 [--val 5000] [--epochs 8] [--seed 0] [--save PATH]

Reads the shared data. Trains on all 50,000 training images, or without the last `--val` of them, on which
the recipe was chosen; test images are scored outside the clock after each epoch, for the curve, and with six
views at the end. Prints CPU seconds (decoding and start included, scoring the curve not) and accuracies.
One thread.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from bench.cifar10_images import read
from stages.lib.augment import Augmentation
from stages.lib.compiling import Compile
from stages.lib.counters import generator
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.network_names import WHITENED
from stages.lib.normalise import Normalisation, fit_normalisation
from stages.lib.optimizers import UpdateRule
from stages.lib.precision import Precision
from stages.lib.recipe import Phase, Recipe
from stages.lib.schedule import Schedule
from stages.lib.tasks import Classification, as_images, forward
from stages.lib.views import View, class_probs
from stages.lib.whitened_net import evenly, fit_whitening

CLASSES, SIDE = 10, 32
SIX_VIEWS = tuple(
    View(move, move, flip, weight, 1.0)
    for move, weight in ((0, 2.0), (-1, 1.0), (1, 1.0))
    for flip in (False, True)
)
"""In place and moved by a pixel along the diagonal, both mirror images, as cifar10-airbench does."""


@dataclass(frozen=True)
class Plan:
    """How one network is trained; the rest is the same for all."""

    widths: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    matrix_rate: float
    momentum: float
    label_smoothing: float
    precision: Precision
    weight_decay: float = 0.05
    warmup: float = 0.2
    ema_decay: float = 0.0
    shift: int = 2
    cutout: float = 0.0
    compiled: Compile = "eager"

    def recipe(self, seed: int) -> Recipe:
        """Return it as the loop takes it."""
        views = Augmentation(
            flip="alternate", crop_pixels=self.shift, padding="reflection", cutout=self.cutout
        )
        return Recipe(
            phases=(Phase("all", self.epochs, 1.0),),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_fraction=self.warmup,
            ema_decay=self.ema_decay,
            augmentation=views,
            seed=seed,
            schedule=Schedule(kind="polynomial"),
            rule=UpdateRule("muon", self.momentum, self.matrix_rate, hold_norm=True),
            precision=self.precision,
            compiled=self.compiled,
        )


TEN_MINUTES = Plan((48, 160, 192), 8, 2000, 0.01, 0.14, 0.6, 0.2, "bfloat16", weight_decay=0.01, warmup=0.02)
"""Chosen on 5,000 training images held out: the rates in runs of three to eight epochs of a narrower network,
the widths and the batch by runs of this length."""


def untrained(plan: Plan, images: torch.Tensor, normalisation: Normalisation, seed: int) -> Classifier:
    """Return a whitened network on the device of images (N, 3, 32, 32) uint8, its first layer computed."""
    shape = Architecture(images.shape[1], SIDE, plan.widths, CLASSES, WHITENED)
    network = new_classifier(shape, torch.zeros(CLASSES), generator(torch.device("cpu"), "cifar10", seed))
    network.to(images.device)
    fit_whitening(network.body, images[evenly(len(images))], normalisation)
    return network


def trained(
    plan: Plan,
    images: torch.Tensor,
    labels: torch.Tensor,
    normalisation: Normalisation,
    seed: int,
    report: Callable[[Classifier, Mapping[str, int | float | str]], None] | None = None,
    compiled: Classifier | None = None,
) -> torch.nn.Module:
    """Train a whitened network on images (N, 3, 32, 32) uint8 and labels (N,) on the device; return it.

    `compiled` is a network that holds compiled kernels already: it gets the new one's weights and is trained.
    """
    network = untrained(plan, images, normalisation, seed)
    if compiled is not None:
        compiled.load_state_dict(network.state_dict())
        network = compiled
    task = Classification(labels, torch.ones(CLASSES, device=images.device), plan.label_smoothing, None)
    data = TrainingSet(images, tuple(map(str, range(len(images)))), normalisation)
    recipe = plan.recipe(seed)
    state = LoopState.start(network, recipe)

    def tell(row: Mapping[str, int | float | str]) -> None:
        if report is not None:
            averaged = state.averaged
            assert isinstance(averaged, Classifier)
            report(averaged, row)

    fit(state, task, data, recipe, report=tell, label="CIFAR-10")
    return state.averaged


def six_view_accuracy(
    network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, normalisation: Normalisation
) -> float:
    """Return the accuracy of the mean of six views."""
    found = class_probs(network, images, normalisation, SIX_VIEWS).argmax(1)
    return float((found == labels).float().mean())


def main() -> None:
    """Print the curve, then what the ten minutes gave."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--val", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=TEN_MINUTES.epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="where to write the network, as safetensors")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # a second one costs more CPU time than it saves wall time
    pixels, labels, _ = read("train")
    kept = len(pixels) - asked.val
    ready = time.process_time()
    test_pixels, test_labels, _ = read("test") if not asked.val else (pixels[kept:], labels[kept:], ())
    not_counted = time.process_time() - ready
    normalisation = fit_normalisation(pixels[:kept])
    cpu = torch.device("cpu")
    held = as_images(test_pixels, cpu), torch.from_numpy(test_labels)

    def report(network: Classifier, row: Mapping[str, int | float | str]) -> None:
        nonlocal not_counted
        started = time.process_time()
        found = forward(network, held[0], normalisation).argmax(1)
        accuracy = float((found == held[1]).float().mean())
        print(
            f"epoch {row['epoch']}: {started - not_counted:.0f} CPU s, train loss {row['train_loss']:.4f}, "
            f"accuracy {accuracy:.4f}",
            flush=True,
        )
        not_counted += time.process_time() - started

    plan = TEN_MINUTES if asked.epochs == TEN_MINUTES.epochs else replace(TEN_MINUTES, epochs=asked.epochs)
    train = as_images(pixels[:kept], cpu), torch.from_numpy(labels[:kept])
    network = trained(plan, *train, normalisation, asked.seed, report)
    accuracy = six_view_accuracy(network, *held, normalisation)
    spent = time.process_time() - not_counted
    if asked.save:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, asked.save)
    where = "val" if asked.val else "test"
    print(
        f"{where}, n = {len(held[1])}: six views {accuracy:.4f} in {spent:.0f} CPU s, all counted", flush=True
    )


if __name__ == "__main__":
    main()
