"""Distil: teach one small student what the ensemble believes.

The student learns the teachers' softened probabilities (Hinton et al., arXiv:1503.02531) or their logits on
train and, where asked, on neutral and unlabelled images, each under a fresh augmentation that teachers and
student see alike (Beyer et al., arXiv:2106.05237), with the given label mixed in where there is one, and
their features as hints (lib/hints.py). Never test, nor an image that resembles one of test or val, and val
only to look at. The teacher is this run's ensemble, through one view or several, or a file.

Reads ingest, duplicates, curate, split and train; writes model.safetensors and history.csv.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.lib.augment_params import AugmentationParams
from stages.lib.cli import Context, stage_main
from stages.lib.config import matching
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.errors import prefixed
from stages.lib.history import figures_of, report_to, write_history
from stages.lib.relatives import apart_from, groups_of
from stages.lib.training_params import OnePhaseParams, Seeds, Sha256, Widths
from stages.lib.view_params import ViewParams, views_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.distillation import Hint
    from stages.lib.ensemble import Member
    from stages.lib.loop import Report
    from stages.lib.loop_state import LoopState
    from stages.lib.nets import Architecture, Classifier
    from stages.lib.recipe import Recipe
    from stages.lib.teachers import Teacher
    from stages.lib.weights import Card

HELD_OUT = ("val", "test")
SAME = "same"
"""The student's network is one like its teacher's: self-distillation."""


class Params(OnePhaseParams):
    """Section `distill`."""

    teacher: Literal["ensemble", "file"]
    teacher_file: str
    teacher_sha256: Sha256
    views: tuple[ViewParams, ...] = Field(max_length=64)
    images: tuple[Literal["neutral", "unlabelled"], ...]
    network: Annotated[
        str,
        matching(
            r"residual|whitened|same|timm:[A-Za-z0-9_.]+",
            "residual, whitened, same, or timm: and the name of a timm net, such as timm:resnet18",
            "residual",
            "whitened",
            SAME,
        ),
    ]
    widths: Widths
    loss: Literal["kl", "logits"]
    temperature: float = Field(gt=0, le=100)
    hard_weight: float = Field(ge=0, le=1)
    hint_weight: float = Field(ge=0, le=10_000)
    hint_depth: int = Field(ge=1, le=100)

    @model_validator(mode="after")
    def _goes_together(self) -> "Params":
        if self.teacher == "file" and not (self.teacher_file and self.teacher_sha256):
            raise ValueError("teacher: file needs teacher_file and teacher_sha256 (`sha256sum` prints it)")
        return self


class TrainView(AugmentationParams):
    """What distillation shares with `train`: which teachers there are, and the augmentation."""

    seeds: Seeds


def taught_on(dataset: Dataset, groups: np.ndarray, images: tuple[str, ...]) -> np.ndarray:
    """Return the positions (M,) that teachers are asked about: train, and what else `images` names.

    Never one that shares a group with a val or test sample: what a teacher says of a copy of a test image it
    would say of that image.
    """
    train, others = dataset.part("train"), dataset.part(*images) if images else np.empty(0, np.int64)
    return np.sort(np.r_[train, apart_from(dataset, groups, others, HELD_OUT)])


def architecture_of(dataset: Dataset, params: Params, members: "Mapping[str, Member]") -> "Architecture":
    """Return what the student is: a network of its own, or one like its first teacher's."""
    from dataclasses import replace

    from stages.lib.training_data import architecture_for

    if params.network == SAME:
        first = next(iter(members.values())).card.architecture
        return replace(first, n_classes=len(dataset.classes))
    return architecture_for(dataset, params.widths, params.network, "distill")


def teacher_of(
    dataset: Dataset, params: Params, members: "Mapping[str, Member]", student: "Classifier"
) -> "tuple[Teacher, Hint | None]":
    """Return who teaches; where hints are asked for, the student (on the CPU) gets what compares features."""
    from stages.lib.counters import generator
    from stages.lib.distillation import Hint
    from stages.lib.hints import add_regressor, layer_at, map_shape
    from stages.lib.teachers import Teacher, order_of
    from stages.lib.views import PLAIN

    networks = [member.network for member in members.values()]
    order = order_of(next(iter(members.values())), dataset)
    views = views_of(params.views) or PLAIN
    if params.hint_weight == 0:
        return Teacher(networks, views, order), None
    layers = [layer_at(network, params.hint_depth, "teacher") for network in networks]
    shapes = [
        map_shape(member.network, layer, member.card.architecture, "teacher")
        for member, layer in zip(members.values(), layers, strict=True)
    ]
    own = layer_at(student, params.hint_depth, "student")
    randomness = generator(student.head.bias.device, "hints", params.seed)
    add_regressor(student, own, architecture_of(dataset, params, members), shapes, randomness)
    return Teacher(networks, views, order, layers), Hint(own, params.hint_weight)


def fit_student(
    dataset: Dataset,
    positions: np.ndarray,
    members: "Mapping[str, Member]",
    params: Params,
    recipe: "Recipe",
    store: "CheckpointStore | None" = None,
    report: "Report | None" = None,
) -> "LoopState":
    """Train a new student on the samples at `positions`; it starts from the first teacher's output bias."""
    from stages.lib.counters import generator
    from stages.lib.device import torch_device
    from stages.lib.distillation import Distillation
    from stages.lib.loop import fit
    from stages.lib.loop_state import LoopState
    from stages.lib.nets import new_classifier
    from stages.lib.training_data import fit_first_layer, held_out, labels_of, training_set

    device = torch_device(dataset.pixels.shape[1])
    first = next(iter(members.values()))
    bias, normalisation = first.network.head.bias.detach().cpu(), first.card.normalisation
    architecture = architecture_of(dataset, params, members)
    with prefixed("distill."):
        student = new_classifier(architecture, bias, generator(bias.device, "distill", params.seed))
    fit_first_layer(student, dataset, positions, normalisation)
    teacher, hint = teacher_of(dataset, params, members, student)
    if teacher.order is not None:
        student.head.bias.data = bias[teacher.order.cpu()]
    task = Distillation(
        teacher,
        labels_of(dataset, positions, device),
        params.temperature,
        params.hard_weight,
        held_out(dataset, dataset.part("val"), normalisation, device),
        params.loss,
        hint,
    )
    data = training_set(dataset, positions, normalisation, device, may_stream=True)
    state = LoopState.start(student.to(device), recipe)
    return fit(state, task, data, recipe, store=store, report=report, label="distilling")


def card_of(dataset: Dataset, params: Params, members: "Mapping[str, Member]") -> "Card":
    """Return what the student is, with every teacher's hash as a parent."""
    from stages.lib.weights import Card

    normalisation = next(iter(members.values())).card.normalisation
    parents = {name: member.sha256 for name, member in members.items()}
    architecture = architecture_of(dataset, params, members)
    return Card("classifier", architecture, dataset.classes, normalisation, parents)


def load_teachers(
    params: Params,
    members: Path,
    seeds: "tuple[int, ...]",
    dataset: Dataset,
    groups: np.ndarray,
    curate: Path,
) -> "dict[str, Member]":
    """Load who teaches: this run's networks, or those of a file."""
    from stages.lib.ensemble import load_members
    from stages.lib.teachers import teachers_from

    if params.teacher == "file":
        return teachers_from(Path(params.teacher_file), params.teacher_sha256, dataset, groups, curate)
    return load_members(members, seeds, dataset)


def run(
    params: Params,
    *,
    ingest: Path,
    duplicates: Path,
    curate: Path,
    split: Path,
    members: Path,
    out: Path,
    train: TrainView,
    context: Context,
) -> dict[str, Any]:
    """Train the student from its teachers, and say how small and how like them it is."""
    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.hints import without_regressor
    from stages.lib.student_figures import sizes, val_agreement
    from stages.lib.weights import MODEL, save_weights

    dataset = load_dataset(ingest, curate, split)
    groups = groups_of(duplicates, curate, dataset)
    named = load_teachers(params, members, train.seeds, dataset, groups, curate)
    positions = taught_on(dataset, groups, params.images)
    store = CheckpointStore(context.checkpoints, context.key)
    recipe = params.one_phase("distill", train.augmentation())
    state = fit_student(dataset, positions, named, params, recipe, store, report_to(context.journal))
    card = card_of(dataset, params, named)
    save_weights(out / MODEL, without_regressor(state.averaged.state_dict()), card)
    write_history(out / "history.csv", state.history)
    store.retire()
    return {
        "n_taught_on": len(positions),
        "n_copies_left_out": len(dataset.part("train", *params.images)) - len(positions),
        "n_teachers": len(named),
        **sizes(state.averaged, card.architecture, next(iter(named.values()))),
        "epochs": state.epoch,
        **val_agreement(state.averaged, named, views_of(params.views), dataset, groups),
        **figures_of(state.history[-1]),
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run, shareable=True)
