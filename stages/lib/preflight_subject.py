"""What preflight looks at: a new network and the data it is about to learn from."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from stages.lib.class_plan import ClassPlan
from stages.lib.counters import epoch_order, generator
from stages.lib.dataset import Dataset
from stages.lib.device import torch_device
from stages.lib.errors import prefixed
from stages.lib.loop import TrainingSet, prepare
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import Normalisation, fit_normalisation
from stages.lib.recipe import Recipe
from stages.lib.starting_weights import RANDOM, Origin, start_from_elsewhere
from stages.lib.tasks import Classification, Held
from stages.lib.training_data import (
    architecture_for,
    fit_first_layer,
    held_out,
    labels_of,
    log_prior,
    training_set,
)

MOST_TRAIN, MOST_VAL = 2048, 1024
"""Enough for every check to be far from its bound in a healthy run, few enough for seconds."""

LEAST_HELD = 256
"""Images that a short run is judged on: a gain of an eighth of its deviation is then 2 standard errors."""

NARROW = (8,)
"""Channels of the smallest network there is, which a larger one must not learn worse than."""


class Brought(NamedTuple):
    """The normalisation that weights from elsewhere were trained with, and the train split's own."""

    theirs: Normalisation
    own: Normalisation


@dataclass(frozen=True)
class Subject:
    """A new network with what it is about to learn from: the task without smoothing.

    stands_in: it is random where training will start from weights that are not there yet. brought: where
    weights from elsewhere come with their own normalisation, theirs and the train split's.

    batch (B,) are positions of one random batch in the training set, learned (M,) those that a short run
    learns from: the others are in `held`, with val. train_rows (N,) and held_rows are where those samples lie
    in the data set; true_labels (N,) come straight from it, beside what the task holds. log_prior (K,).
    """

    network: Classifier
    narrow: Classifier
    task: Classification
    data: TrainingSet
    recipe: Recipe
    batch: torch.Tensor
    learned: torch.Tensor
    held: Held
    train_rows: np.ndarray
    held_rows: np.ndarray
    true_labels: torch.Tensor
    log_prior: torch.Tensor
    stands_in: bool = False
    brought: Brought | None = None

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.data.images.device

    def plain(self, index: torch.Tensor) -> torch.Tensor:
        """Return training images at `index` (M,) as the loop prepares them, without augmentation."""
        return prepare(self.data, replace(self.recipe, augmentation=None), index, self.randomness("plain"))

    def randomness(self, use: str) -> torch.Generator:
        """Return the generator of one use."""
        return generator(self.device, "preflight", use, self.recipe.seed)


def sample_of(dataset: Dataset, seed: int) -> Dataset:
    """Return the data set with at most MOST_TRAIN train and MOST_VAL val samples left in their splits."""
    split = np.full(len(dataset.split), "", dataset.split.dtype)
    for name, most in (("train", MOST_TRAIN), ("val", MOST_VAL)):
        chosen = np.random.default_rng(seed).permutation(dataset.part(name))[:most]
        split[chosen] = name
    return replace(dataset, split=split)


def subject_of(
    dataset: Dataset,
    plan: ClassPlan,
    recipe: Recipe,
    architecture: Architecture,
    batch_size: int,
    origin: Origin = RANDOM,
) -> Subject:
    """Build network, task and data as `train` does; the body starts at its weights if they are there yet."""
    device = torch_device(dataset.pixels.shape[1])
    rows, val_rows = dataset.part("train"), dataset.part("val")
    own = normalisation = fit_normalisation(dataset.pixels[rows])
    labels, prior = labels_of(dataset, rows, device), log_prior(dataset, rows, plan, device)
    networks = [
        _network(built, prior, recipe.seed, device)
        for built in (architecture, architecture_for(dataset, NARROW))
    ]
    if origin.elsewhere:
        normalisation = start_from_elsewhere(networks[0].body, architecture, origin, own).normalisation
    else:
        fit_first_layer(networks[0], dataset, rows, normalisation)
    data = training_set(dataset, rows, normalisation, device, plan)
    task = Classification(labels, torch.from_numpy(plan.loss).float().to(device), 0.0, val=None)
    learned, lent = lend(len(rows), len(val_rows), recipe.seed)
    held_rows = np.r_[val_rows, rows[lent]]
    held = held_out(dataset, held_rows, normalisation, device)
    assert held is not None, "one image at least is lent"
    batch = epoch_order(len(rows), data.sampling, recipe.seed, epoch=0)[:batch_size].to(device)
    return Subject(
        networks[0],
        networks[1],
        task,
        data,
        recipe,
        batch,
        torch.from_numpy(learned).to(device),
        held,
        rows,
        held_rows,
        torch.from_numpy(dataset.labels[rows]).to(device),
        prior,
        stands_in=origin.init == "pretrain",
        brought=None if normalisation == own else Brought(normalisation, own),
    )


def _network(architecture: Architecture, prior: torch.Tensor, seed: int, device: torch.device) -> Classifier:
    randomness = generator(torch.device("cpu"), "preflight", seed)
    with prefixed("train."):
        return new_classifier(architecture, prior.cpu(), randomness).to(device)


def lend(n_train: int, n_val: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of train that a short run learns from, and those it is judged on beside val.

    Where val has fewer than LEAST_HELD images, up to a third of train is lent: 29 tell little.
    """
    order = np.random.default_rng(seed).permutation(n_train)
    n_lent = min(max(0, LEAST_HELD - n_val), max(n_train // 3, 1))
    return np.sort(order[n_lent:]), np.sort(order[:n_lent])


def part_of(subject: Subject, index: torch.Tensor) -> tuple[Classification, TrainingSet]:
    """Return task and data of the training samples at `index` (M,) alone."""
    data, rows = subject.data, index.tolist()
    part = replace(
        data,
        images=data.images[index],
        sample_ids=tuple(data.sample_ids[at] for at in rows),
        sampling=None if data.sampling is None else data.sampling[index.cpu()],
        strength=None if data.strength is None else data.strength[index],
    )
    return replace(subject.task, labels=subject.task.labels[index]), part
