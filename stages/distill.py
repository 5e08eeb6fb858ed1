"""Distil: teach one small student what the ensemble believes.

The student learns the teachers' softened probabilities on train, neutral and unlabelled images (Hinton et
al., arXiv:1503.02531), each under a fresh augmentation that teachers and student see alike (Beyer et al.,
arXiv:2106.05237), with the given label mixed in where there is one. Never test, and val only to look at.

Reads ingest, curate, split and train; writes model.safetensors and history.csv.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.lib.augment_params import AugmentationParams
from stages.lib.cli import Context, stage_main
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.history import last_figures, report_to, write_history
from stages.lib.training_params import OnePhaseParams, Seeds, Widths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.ensemble import Member
    from stages.lib.loop import Report
    from stages.lib.loop_state import LoopState
    from stages.lib.recipe import Recipe
    from stages.lib.weights import Card

TAUGHT_ON = ("train", "neutral", "unlabelled")
"""Splits whose images the teachers are asked about."""


class Params(OnePhaseParams):
    """Section `distill`."""

    widths: Widths
    temperature: float = Field(gt=0, le=100)
    hard_weight: float = Field(ge=0, le=1)


class TrainView(AugmentationParams):
    """What distillation shares with `train`: which teachers there are, and the augmentation."""

    seeds: Seeds


def fit_student(
    dataset: Dataset,
    members: "Mapping[str, Member]",
    params: Params,
    recipe: "Recipe",
    store: "CheckpointStore | None" = None,
    report: "Report | None" = None,
) -> "LoopState":
    """Train a new student of params.widths; it starts from the first member's output bias."""
    from stages.lib.counters import generator
    from stages.lib.device import torch_device
    from stages.lib.loop import fit
    from stages.lib.loop_state import LoopState
    from stages.lib.nets import new_classifier
    from stages.lib.tasks import Distillation
    from stages.lib.training_data import architecture_for, held_out, labels_of, training_set

    device = torch_device(dataset.pixels.shape[1])
    first = next(iter(members.values()))
    bias, normalisation = first.network.head.bias.detach().cpu(), first.card.normalisation
    architecture = architecture_for(dataset, params.widths)
    student = new_classifier(architecture, bias, generator(bias.device, "distill", params.seed)).to(device)
    positions = dataset.part(*TAUGHT_ON)
    task = Distillation(
        [member.network for member in members.values()],
        labels_of(dataset, positions, device),
        params.temperature,
        params.hard_weight,
        held_out(dataset, dataset.part("val"), normalisation, device),
    )
    data = training_set(dataset, positions, normalisation, device, may_stream=True)
    state = LoopState.start(student, recipe)
    return fit(state, task, data, recipe, store=store, report=report, label="distilling")


def card_of(dataset: Dataset, params: Params, members: "Mapping[str, Member]") -> "Card":
    """Return what the student is, with every teacher's hash as a parent."""
    from stages.lib.training_data import architecture_for
    from stages.lib.weights import Card

    normalisation = next(iter(members.values())).card.normalisation
    parents = {name: member.sha256 for name, member in members.items()}
    architecture = architecture_for(dataset, params.widths)
    return Card("classifier", architecture, dataset.classes, normalisation, parents)


def val_agreement(student: "nn.Module", members: "Mapping[str, Member]", dataset: Dataset) -> float:
    """Return the share of val samples on which the student says what the ensemble says."""
    from stages.lib.device import torch_device
    from stages.lib.ensemble import ensemble_probs
    from stages.lib.tasks import as_images
    from stages.lib.views import PLAIN, class_probs

    images = as_images(dataset.pixels[dataset.part("val")], torch_device(dataset.pixels.shape[1]))
    normalisation = next(iter(members.values())).card.normalisation
    believed = ensemble_probs([member.probs(images, PLAIN) for member in members.values()])
    said = class_probs(student, images, normalisation, PLAIN)
    return int((said.argmax(1) == believed.argmax(1)).sum()) / max(len(images), 1)


def run(
    params: Params,
    *,
    ingest: Path,
    curate: Path,
    split: Path,
    members: Path,
    out: Path,
    train: TrainView,
    context: Context,
) -> dict[str, Any]:
    """Train the student from the networks in `members`, and say how small and how like them it is."""
    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.ensemble import load_members
    from stages.lib.net_report import count_parameters
    from stages.lib.weights import MODEL, save_weights

    dataset = load_dataset(ingest, curate, split)
    named = load_members(members, train.seeds, dataset)
    teacher = next(iter(named.values())).network
    store = CheckpointStore(context.checkpoints, context.key)
    recipe = params.one_phase("distill", train.augmentation())
    state = fit_student(dataset, named, params, recipe, store, report_to(context.journal))
    save_weights(out / MODEL, state.averaged.state_dict(), card_of(dataset, params, named))
    write_history(out / "history.csv", state.history)
    store.retire()
    sizes = count_parameters(state.network), count_parameters(teacher)
    return {
        "n_taught_on": len(dataset.part(*TAUGHT_ON)),
        "n_teachers": len(named),
        "n_parameters": sizes[0],
        "n_teacher_parameters": sizes[1],
        "parameter_ratio": sizes[0] / sizes[1],
        "epochs": state.epoch,
        "val_agreement": val_agreement(state.averaged, named, dataset),
        **last_figures(state.history),
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run, shareable=True)
