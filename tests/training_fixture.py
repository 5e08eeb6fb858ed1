"""Params and small trained networks for the tests of the stages that learn."""

from pathlib import Path
from typing import Any

import numpy as np

from stages import distill, predict, pretrain, train
from stages.lib.augment_params import AugmentSection
from stages.lib.class_plan import ClassPlan
from stages.lib.cli import Context
from stages.lib.config import load_section
from stages.lib.dataset import Dataset
from stages.lib.journal import Journal
from stages.lib.view_params import ViewParams

STEPPING: dict[str, Any] = {
    "batch_size": 16,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "warmup_fraction": 0.2,
    "ema_decay": 0.9,
}
UNCHANGED: dict[str, Any] = load_section(train.Params, "train").augment.model_dump() | {
    "rotation_degrees": 0.0,
    "shift": 0.0,
    "zoom": 0.0,
    "aspect": 0.0,
    "shear": 0.0,
}
AUGMENTATION: dict[str, Any] = {
    "augment": AugmentSection(
        **UNCHANGED | {"rotation_degrees": 3.0, "shift": 0.05, "zoom": 0.05, "padding": "border"}
    )
}
WIDTHS = (8, 16)


def pretrain_params(**changes: Any) -> pretrain.Params:
    return pretrain.Params(
        **STEPPING | {"seed": 0, "epochs": 2, "noise_std": 0.3, "mask_share": 0.2} | changes
    )


def pretrain_view(init: Any = "pretrain") -> pretrain.TrainView:
    return pretrain.TrainView(**AUGMENTATION, init=init, widths=WIDTHS)


OPTIMIZER: dict[str, Any] = {"kind": "adamw", "momentum": 0.9, "matrix_rate": 0.02, "hold_norm": False}
SCHEDULE: dict[str, Any] = {
    "kind": "cosine",
    "final": 0.0,
    "drops": 2,
    "milestones": (0.5, 0.75),
    "gamma": 0.1,
    "power": 1.0,
    "steepness": 10.0,
    "cycles": 1,
    "patience": 5,
    "grow_batch": False,
    "largest_batch": 64,
    "momentum_low": 0.0,
}
FINE_TUNE: dict[str, Any] = {"layer_decay": 1.0, "frozen_layers": 0, "hold_statistics": False}
ENGINE: dict[str, Any] = {
    "rate_scaling": "none",
    "rate_batch": 16,
    "clip_norm": 0.0,
    "micro_batches": 1,
    "patience": 0,
    "precision": "float32",
    "compile": "eager",
    "deterministic": False,
    "optimizer": OPTIMIZER,
    "schedule": SCHEDULE,
    "fine_tune": FINE_TUNE,
}
NETWORK: dict[str, Any] = {"network": "residual", "widths": WIDTHS}
RANDOM: dict[str, Any] = {"init": "random", "init_file": "", "init_sha256": "", "body_rate": 1.0}


def train_params(**changes: Any) -> train.Params:
    """Give train's params; `changes` of optimizer, schedule and fine_tune name only what changes."""
    own = {"seeds": (0, 1), "init": "pretrain", "init_file": "", "init_sha256": "", "epochs": 3}
    more = {"head_epochs": 1, "body_rate": 1.0, "targets": "labels", "label_smoothing": 0.05}
    more |= {"dropout": 0.0, "drop_path": 0.0}
    nested = {name: ENGINE[name] | changes.pop(name, {}) for name in ("optimizer", "schedule", "fine_tune")}
    return train.Params(**STEPPING | ENGINE | NETWORK | AUGMENTATION | own | more | changes | nested)


def distill_params(**changes: Any) -> distill.Params:
    own: dict[str, Any] = {"seed": 0, "widths": (8,), "epochs": 3, "temperature": 2.0, "hard_weight": 0.1}
    own |= {"teacher": "ensemble", "teacher_file": "", "teacher_sha256": "", "views": ()}
    own |= {"images": ("neutral", "unlabelled"), "network": "residual", "loss": "kl"}
    own |= {"hint_weight": 0.0, "hint_depth": 1}
    return distill.Params(**STEPPING | own | changes)


def distill_view() -> distill.TrainView:
    return distill.TrainView(**AUGMENTATION, seeds=(0, 1))


WORSE = predict.RobustnessParams(
    images=1000,
    resolution=(1.0, 0.5),
    aspect=(1.5,),
    jpeg=(20.0,),
    brightness=(0.5,),
    blur=(0.1,),
    shift=(0.125,),
)


def predict_params() -> predict.Params:
    places = ((0, 0, 2.0), (1, 0, 1.0), (0, -1, 1.0))
    views = tuple(
        ViewParams(x=x, y=y, flip=False, weight=weight, zoom=1.0, crops=1) for x, y, weight in places
    )
    return predict.Params(
        views=views,
        combinations=("mean", "geometric", "weighted", "greedy", "soup", "greedy_soup"),
        robustness=WORSE,
    )


def even_plan(n_classes: int) -> ClassPlan:
    return ClassPlan(np.ones(n_classes), np.ones(n_classes))


def context(folder: Path, key: str = "k") -> Context:
    return Context("stage", key, folder / "checkpoints" / key, Journal.silent())


def write_encoder(path: Path, dataset: Dataset, widths: tuple[int, ...] = WIDTHS) -> Path:
    """Write the encoder of an untrained autoencoder, which is enough to start from."""
    from stages.lib.counters import generator
    from stages.lib.device import torch_device
    from stages.lib.nets import Autoencoder, initialise
    from stages.lib.normalise import fit_normalisation
    from stages.lib.training_data import architecture_for
    from stages.lib.weights import Card, save_weights

    architecture = architecture_for(dataset, widths)
    network = Autoencoder(architecture)
    initialise(network, generator(torch_device(8), "fixture"))
    normalisation = fit_normalisation(dataset.pixels[dataset.part("train")])
    card = Card("encoder", architecture, dataset.classes, normalisation, {})
    save_weights(path, network.body.state_dict(), card)
    return path


def write_members(folder: Path, dataset: Dataset) -> Path:
    """Train seeds 0 and 1 shortly and write `folder`/seed<k>/model.safetensors."""
    from stages.lib.weights import save_weights

    encoder = write_encoder(folder / "encoder.safetensors", dataset)
    for seed in (0, 1):
        plan = even_plan(len(dataset.classes))
        state, card, _ = train.fit_classifier(dataset, plan, encoder, train_params(epochs=6), seed)
        save_weights(folder / f"seed{seed}" / "model.safetensors", state.averaged.state_dict(), card)
    return folder
