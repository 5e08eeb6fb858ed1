"""Baselines that are shown no picture: a small network, by the loop of all others, on what is left of one.

- `zeros`: black images. It can learn only how common each class is; a network on real images that is no
  better has a fault before or in the network (Karpathy, A Recipe for Training Neural Networks, 2019: the
  input-independent baseline).
- `noise`: noise of its own for each image. As much to memorise as in a picture, and nothing to learn.
- `histogram`: each image's own pixels, from dark to light. What it knows is in light and colour alone; where
  it comes near the real network, shapes were not needed. Any order that forgets places would do; from a
  random one the network learns less (digits, 542 images: 0.16 right, from this one 0.25).
"""

from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from stages.lib.counters import generator
from stages.lib.dataset import Dataset
from stages.lib.device import torch_device
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.nets import Architecture, initialise
from stages.lib.nets import Classifier as Network
from stages.lib.network_names import GROUP
from stages.lib.normalise import Normalisation
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Classification, as_images, forward

Kind = Literal["zeros", "noise", "histogram"]

EPOCHS = {"zeros": 12, "noise": 12, "histogram": 30}
RATES = {"zeros": 0.1, "noise": 0.1, "histogram": 0.01}
MOST_SAMPLES = 2048
"""So many tell the class shares within about 2 %, and bound the cost, whatever the number of images."""

MOST_SIDE = {"zeros": 8, "noise": 8, "histogram": 16}
"""Black is black at any size, and noise is noise; 256 pixels of a picture tell its histogram."""

CHUNK = 4096
"""Images whose pixels are sorted at once: a bound on memory."""

LEVELS = Normalisation((0.0,), (1.0,))


def blind_network_probs(kind: Kind, dataset: Dataset, rows: np.ndarray, seed: int) -> np.ndarray:
    """Train on what `kind` leaves of the train images; return pred_probs (M, K) float32 of `rows`."""
    train, n_classes = dataset.part("train"), len(dataset.classes)
    chosen = train[np.random.default_rng(seed).permutation(len(train))[:MOST_SAMPLES]]
    side = min(*dataset.pixels.shape[1:3], MOST_SIDE[kind])
    channels = dataset.pixels.shape[3]
    device = torch_device(side)
    left = what_is_left(kind, dataset.pixels, chosen, side, np.random.default_rng([seed, 0]))
    plain = Normalisation(LEVELS.mean * channels, LEVELS.std * channels)
    data = TrainingSet(as_images(left, device), tuple(map(str, chosen)), plain)
    network = Network(Architecture(channels, side, (GROUP,), n_classes))
    initialise(network, generator(torch.device("cpu"), kind, seed))
    labels = torch.from_numpy(dataset.labels[chosen]).to(device)
    task = Classification(labels, torch.ones(n_classes, device=device), label_smoothing=0.0, val=None)
    recipe = recipe_of(kind, seed)
    state = fit(LoopState.start(network.to(device), recipe), task, data, recipe, label=f"{kind} network")
    seen = what_is_left(kind, dataset.pixels, rows, side, np.random.default_rng([seed, 1]))
    if kind == "zeros":  # all alike
        one = functional.softmax(forward(state.averaged, as_images(seen[:1], device), plain), 1)
        return np.repeat(one.cpu().numpy(), len(rows), axis=0)
    logits = forward(state.averaged, as_images(seen, device), plain)
    return functional.softmax(logits, 1).cpu().numpy()


def recipe_of(kind: Kind, seed: int) -> Recipe:
    """Return how these networks are trained."""
    return Recipe(
        (Phase(kind, EPOCHS[kind], body_rate=1.0),),
        batch_size=128,
        learning_rate=RATES[kind],
        weight_decay=0.0,
        warmup_fraction=0.1,
        ema_decay=0.9,
        augmentation=None,
        seed=seed,
    )


def what_is_left(
    kind: Kind, pixels: np.ndarray, rows: np.ndarray, side: int, rng: np.random.Generator
) -> np.ndarray:
    """Return images (M, side, side, C) uint8 that stand in for the pixels (N, H, W, C) of `rows` (M,)."""
    shape = (len(rows), side, side, pixels.shape[3])
    if kind == "zeros":
        return np.zeros(shape, np.uint8)
    if kind == "noise":
        return rng.integers(0, 256, shape, dtype=np.uint8)
    parts = [
        from_dark_to_light(pixels[rows[at : at + CHUNK]], side * side, rng)
        for at in range(0, max(len(rows), 1), CHUNK)
    ]
    return np.concatenate(parts).reshape(shape)


def from_dark_to_light(pixels: np.ndarray, n_kept: int, rng: np.random.Generator) -> np.ndarray:
    """Return pixels (M, n_kept, C) of each image (M, H, W, C), colours kept whole.

    Of larger images so many are drawn, with replacement: all pixels of a photograph would cost more to sort
    than the network to train.
    """
    flat = pixels.reshape(len(pixels), -1, pixels.shape[3])
    n_pixels = flat.shape[1]
    if n_pixels > n_kept:
        drawn = rng.integers(0, n_pixels, (len(flat), n_kept))
        flat = np.take_along_axis(flat, drawn[:, :, None], axis=1)
    order = flat.sum(axis=2, dtype=np.int64).argsort(axis=1, kind="stable")
    return np.asarray(np.take_along_axis(flat, order[:, :, None], axis=1))
