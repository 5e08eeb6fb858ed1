"""Pretrain: learn features from every image that is not test, without labels.

A denoising autoencoder (Vincent et al., Stacked Denoising Autoencoders, JMLR 11, 2010) repaints images from
noisy ones with holes; its body is what `train` starts from. It sees train, val, neutral and unlabelled
images, never test. The normalisation comes from the train split alone and travels with the weights.

An image without a label that is related to a test image (lib/relatives.py) is left out. Where `train.init` is
not `pretrain`, nobody starts from the body: then only the normalisation is written.

Reads ingest, duplicates, curate and split; writes encoder.safetensors and history.csv.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from stages.lib.artifacts import read_json, write_csv
from stages.lib.augment_params import AugmentationParams
from stages.lib.cli import Context, stage_main
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.errors import InputError
from stages.lib.history import figures_of, report_to, write_history
from stages.lib.normalise import fit_normalisation
from stages.lib.progress import say
from stages.lib.relatives import WITHOUT_LABELS, apart_from, groups_of
from stages.lib.training_params import Init, OnePhaseParams, Widths

if TYPE_CHECKING:
    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.loop import Report
    from stages.lib.loop_state import LoopState
    from stages.lib.nets import Architecture
    from stages.lib.normalise import Normalisation
    from stages.lib.recipe import Recipe

SEEN = ("train", "val", *WITHOUT_LABELS)
"""The splits whose images may be learned from without their labels; never test."""

LEFT_OUT = ""
"""The split of what is related to a test image."""


class Params(OnePhaseParams):
    """Section `pretrain`."""

    noise_std: float = Field(ge=0, le=10)
    mask_share: float = Field(ge=0, lt=1)


class TrainView(AugmentationParams):
    """What pretraining shares with `train`: who starts from its body, the body's size, the augmentation."""

    init: Init
    widths: Widths


def fit_autoencoder(
    dataset: Dataset,
    normalisation: "Normalisation",
    architecture: "Architecture",
    params: Params,
    recipe: "Recipe",
    store: "CheckpointStore | None" = None,
    report: "Report | None" = None,
) -> "LoopState":
    """Train body and decoder on the images of SEEN; val images, under fixed noise, are the yardstick."""
    from stages.lib.counters import generator
    from stages.lib.device import torch_device
    from stages.lib.loop import fit
    from stages.lib.loop_state import LoopState
    from stages.lib.nets import Autoencoder, initialise
    from stages.lib.tasks import Reconstruction
    from stages.lib.training_data import held_out, training_set

    device = torch_device(dataset.pixels.shape[1])
    network = Autoencoder(architecture)
    initialise(network, generator(network.paint.weight.device, "pretrain", params.seed))
    data = training_set(dataset, dataset.part(*SEEN), normalisation, device, may_stream=True)
    val = held_out(dataset, dataset.part("val"), normalisation, device)
    task = Reconstruction(params.noise_std, params.mask_share, val)
    state = LoopState.start(network.to(device), recipe)
    return fit(state, task, data, recipe, store=store, report=report, label="pretraining")


def without_relatives_of_test(dataset: Dataset, groups: np.ndarray) -> Dataset:
    """Take the images without labels that share a group (N,) with a test image out of their splits.

    Train and val keep theirs: `split` has seen to them, or they stand as a finding where the split is given.
    """
    asked = dataset.part(*WITHOUT_LABELS)
    split = dataset.split.copy()
    split[np.setdiff1d(asked, apart_from(dataset, groups, asked, ("test",)))] = LEFT_OUT
    return replace(dataset, split=split)


def require_passed(preflight: Path) -> None:
    """Stop before time is spent when preflight did not pass."""
    if not read_json(preflight / "checks.json")["passed"]:
        raise InputError(
            f"{preflight}/checks.json: preflight did not pass; mend what it names, then `dvc repro`"
        )


def run(
    params: Params,
    *,
    ingest: Path,
    duplicates: Path,
    curate: Path,
    split: Path,
    preflight: Path,
    out: Path,
    train: TrainView,
    context: Context,
) -> dict[str, Any]:
    """Train the autoencoder and keep its body, if train starts from it."""
    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.net_report import count_parameters
    from stages.lib.training_data import architecture_for
    from stages.lib.weights import ENCODER, Card, save_weights

    require_passed(preflight)
    whole = load_dataset(ingest, curate, split)
    dataset = without_relatives_of_test(whole, groups_of(duplicates, curate, whole))
    normalisation = fit_normalisation(dataset.pixels[dataset.part("train")])
    architecture = architecture_for(dataset, train.widths)
    card = Card("encoder", architecture, dataset.classes, normalisation, parents={})
    if train.init != "pretrain":
        say(f"no body is pretrained, because train.init is {train.init}; only the normalisation is written")
        save_weights(out / ENCODER, {}, card)
        write_csv(out / "history.csv", ("epoch", "train_loss", "val_loss"), [])
        return {"trained": False, "epochs": 0}
    store = CheckpointStore(context.checkpoints, context.key)
    # Images are not mixed: there are no targets to mix.
    recipe = params.one_phase("reconstruct", replace(train.augmentation(), mix_share=0.0))
    state = fit_autoencoder(
        dataset, normalisation, architecture, params, recipe, store, report_to(context.journal)
    )
    body = state.averaged.get_submodule("body")
    save_weights(out / ENCODER, body.state_dict(), card)
    write_history(out / "history.csv", state.history)
    store.retire()
    return {
        "trained": True,
        "n_images": len(dataset.part(*SEEN)),
        "n_copies_left_out": len(whole.part(*SEEN)) - len(dataset.part(*SEEN)),
        "n_parameters": count_parameters(body),
        "epochs": recipe.epochs,
        **figures_of(state.history[-1]),
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run, shareable=True)
