"""From the joined data set to tensors on the device: what is learned from, and what is only looked at."""

import numpy as np
import torch

from stages.lib.class_plan import ClassPlan
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError, prefixed
from stages.lib.feeding import HostImages, images_near, must_stream
from stages.lib.loop import TrainingSet
from stages.lib.nets import Architecture, Classifier
from stages.lib.network_names import RESIDUAL
from stages.lib.normalise import Normalisation
from stages.lib.tasks import Held, as_images
from stages.lib.whitened_net import evenly, fit_whitening


def architecture_for(
    dataset: Dataset, widths: tuple[int, ...], name: str = RESIDUAL, section: str = "train"
) -> Architecture:
    """Return the network of this name and these widths for this data set's images and classes.

    InputError names the key of params.yaml's `section` that such images cannot have.
    """
    _, size, _, channels = dataset.pixels.shape
    with prefixed(f"{section}."):
        return Architecture(channels, size, widths, len(dataset.classes), name)


def fit_first_layer(
    network: Classifier, dataset: Dataset, positions: np.ndarray, normalisation: Normalisation
) -> None:
    """Compute the first layer from the samples at `positions` (M,), if the network has such a layer."""
    some = positions[evenly(len(positions))]
    device = next(network.parameters()).device
    fit_whitening(network.body, as_images(dataset.pixels[some], device), normalisation)


def training_set(
    dataset: Dataset,
    positions: np.ndarray,
    normalisation: Normalisation,
    device: torch.device,
    plan: ClassPlan | None = None,
    *,
    may_stream: bool = False,
) -> TrainingSet:
    """Put the samples at `positions` (M,) on the device, drawn and augmented by class as a plan says.

    may_stream: where they do not fit, they are brought from `dataset.pixels` batch by batch, without a copy
    of them all.
    """
    if not len(positions):
        raise InputError("the train split has no images: see data/split/splits.csv and the split section")
    sampling, strength = None, None
    if plan is not None and plan.resamples:
        sampling = torch.from_numpy(plan.sampling[dataset.labels[positions]])
    if plan is not None and plan.strength is not None:
        strength = torch.from_numpy(plan.strength[dataset.labels[positions]]).float().to(device)
    ids = tuple(dataset.sample_ids[position] for position in positions)
    if may_stream and must_stream(len(positions) * dataset.pixels[0].nbytes, device):
        empty = as_images(dataset.pixels[:0], device)
        host = HostImages(dataset.pixels, positions, device)
        return TrainingSet(empty, ids, normalisation, sampling, strength, host)
    return TrainingSet(as_images(dataset.pixels[positions], device), ids, normalisation, sampling, strength)


def labels_of(dataset: Dataset, positions: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return the labels (M,) int64 on the device; -1 where a sample has none."""
    return torch.from_numpy(dataset.labels[positions]).to(device)


def held_out(
    dataset: Dataset, positions: np.ndarray, normalisation: Normalisation, device: torch.device
) -> Held | None:
    """Return samples to look at after each epoch, or None where there are none.

    Their images stay in the machine's memory where they would not fit the device's.
    """
    if not len(positions):
        return None
    images = images_near(dataset.pixels[positions], device)
    return Held(images, labels_of(dataset, positions, device), normalisation)


def log_prior(dataset: Dataset, positions: np.ndarray, plan: ClassPlan, device: torch.device) -> torch.Tensor:
    """Return the log of the class shares (K,) float32 that training on `positions` with this plan sees."""
    prior = plan.prior(dataset.labels[positions])
    return torch.from_numpy(np.log(prior)).float().to(device)
