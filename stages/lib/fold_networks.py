"""Out-of-sample probabilities from small networks, one per fold, trained in the project's own loop.

Trained briefly and on softened targets: a network learns what is common to a class long before it learns
single wrong labels by heart (Arpit et al. 2017, "A closer look at memorization in deep networks", ICML).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from stages.lib.augment import Augmentation
from stages.lib.augment_mix import Mix
from stages.lib.counters import generator
from stages.lib.device import torch_device
from stages.lib.errors import InputError
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.network_names import WHITENED, size_fault
from stages.lib.normalise import Normalisation, fit_normalisation
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import as_images, forward
from stages.lib.whitened_net import evenly, fit_whitening

SMOOTHING = 0.1
BATCH_SIZE = 128
LEARNING_RATE = 2.5e-3
WEIGHT_DECAY = 0.05
WARMUP_FRACTION = 0.2


@dataclass(frozen=True)
class Networks:
    """How fold networks are built and trained; `mirror`: a picture's mirror image shows the same thing."""

    widths: tuple[int, ...]
    epochs: int
    shift: float
    mirror: bool
    brief: bool
    seed: int


@dataclass(frozen=True)
class SoftTargets:
    """Distributions as targets: (N, K) float32, smoothed by SMOOTHING."""

    targets: torch.Tensor

    def loss(
        self,
        network: nn.Module,
        images: torch.Tensor,
        index: torch.Tensor,
        randomness: torch.Generator,
        mix: Mix | None = None,
    ) -> torch.Tensor:
        """Return the mean cross-entropy."""
        del randomness
        targets = self.targets[index.to(self.targets.device)]
        targets = targets if mix is None else mix.blend(targets)
        return functional.cross_entropy(network(images), targets, label_smoothing=SMOOTHING)

    def mass(self, index: torch.Tensor) -> torch.Tensor | float:
        """Return the number of samples."""
        return float(len(index))

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return nothing: what is held out here is predicted once, at the end."""
        del network
        return {}


def recipe_of(how: Networks, fold: int) -> Recipe:
    """Return how one fold's network is trained; its seed is the fold's own."""
    return Recipe(
        phases=(Phase(f"fold {fold}", how.epochs, 1.0),),
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        warmup_fraction=WARMUP_FRACTION,
        ema_decay=0.0,
        augmentation=Augmentation(shift=how.shift, flip=how.mirror, padding="reflection"),
        seed=how.seed + fold,
        precision="bfloat16" if how.brief else "float32",
    )


def new_network(
    images: torch.Tensor, normalisation: Normalisation, n_classes: int, how: Networks, fold: int
) -> Classifier:
    """Build a fold's network for images (N, C, S, S) uint8; InputError if they are too small."""
    channels, side = images.shape[1:3]
    if fault := size_fault(WHITENED, how.widths, side):
        raise InputError(f"label_noise.{fault}")
    draws = generator(torch.device("cpu"), "label_noise", how.seed, fold)
    shape = Architecture(channels, side, how.widths, n_classes, WHITENED)
    network = new_classifier(shape, torch.zeros(n_classes), draws).to(images.device)
    fit_whitening(network.body, images[evenly(len(images))], normalisation)
    return network


def predict_fold(
    pixels: np.ndarray, targets: np.ndarray, seen: np.ndarray, unseen: np.ndarray, how: Networks, fold: int
) -> np.ndarray:
    """Train on the positions `seen` of pixels (N, S, S, C) uint8 and targets (N, K); predict `unseen`.

    Returns (len(unseen), K) float32, rows summing to 1; with `mirror` the mean of both views' logits.
    """
    device = torch_device(pixels.shape[1])
    normalisation = fit_normalisation(pixels[seen])
    images = as_images(pixels[seen], device)
    network = new_network(images, normalisation, targets.shape[1], how, fold)
    recipe = recipe_of(how, fold)
    state = LoopState.start(network, recipe)
    data = TrainingSet(images, tuple(str(position) for position in seen), normalisation)
    task = SoftTargets(torch.from_numpy(targets[seen].astype(np.float32)).to(device))
    fit(state, task, data, recipe, label=f"fold {fold + 1}")
    return _probabilities(state.averaged, as_images(pixels[unseen], device), normalisation, how)


def _probabilities(
    network: nn.Module, images: torch.Tensor, normalisation: Normalisation, how: Networks
) -> np.ndarray:
    logits = forward(network, images, normalisation)
    if how.mirror:
        logits = (logits + forward(network, images.flip(3), normalisation)) / 2
    probabilities: np.ndarray = torch.softmax(logits.double(), 1).float().cpu().numpy()
    return probabilities
