"""The baseline that never sees a picture: a small network trained on black images, by the loop of all others.

It can learn only how common each class is. A network on real images that is no better has a fault before or
in the network (Karpathy, A Recipe for Training Neural Networks, 2019: the input-independent baseline).
"""

import numpy as np
import torch
from torch.nn import functional

from stages.lib.counters import generator
from stages.lib.device import torch_device
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.nets import GROUP, Architecture, initialise
from stages.lib.nets import Classifier as Network
from stages.lib.normalise import Normalisation
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Classification, forward

EPOCHS = 12
MOST_SAMPLES = 2048
"""Black images are all alike: 2,048 of them tell the class shares within about 2 %."""

MOST_SIDE = 8
"""Black is black at any size."""


def zeros_network_probs(
    labels_train: np.ndarray, n_classes: int, shape: tuple[int, int, int], seed: int
) -> np.ndarray:
    """Train on black images of `shape` (H, W, C) with labels_train (N,) int64; return its pred_probs (K,)."""
    chosen = np.random.default_rng(seed).permutation(len(labels_train))[:MOST_SAMPLES]
    side, channels = min(*shape[:2], MOST_SIDE), shape[2]
    device = torch_device(side)
    labels = torch.from_numpy(labels_train[chosen]).to(device)
    black = torch.zeros((len(labels), channels, side, side), dtype=torch.uint8, device=device)
    data = TrainingSet(
        black, tuple(map(str, chosen)), Normalisation(mean=(0.0,) * channels, std=(1.0,) * channels)
    )
    network = Network(Architecture(channels, side, (GROUP,), n_classes))
    initialise(network, generator(torch.device("cpu"), "zeros", seed))
    task = Classification(labels, torch.ones(n_classes, device=device), label_smoothing=0.0, val=None)
    recipe = Recipe(
        (Phase("zeros", EPOCHS, body_rate=1.0),),
        batch_size=128,
        learning_rate=0.1,
        weight_decay=0.0,
        warmup_fraction=0.1,
        ema_decay=0.9,
        augmentation=None,
        seed=seed,
    )
    state = fit(LoopState.start(network.to(device), recipe), task, data, recipe, label="zeros network")
    logits = forward(state.averaged, black[:1], data.normalisation)
    return functional.softmax(logits, 1)[0].cpu().numpy()
