"""Train: fine-tune one network per seed from the pretrained body, head first, then everything.

The published weights are the running mean (EMA) of the last epochs' weights: there is no choice among epochs,
so val is looked at but not fitted, and test is never read. Which samples are drawn and how much they count
follows the class plan, on train only.

Reads ingest, curate, split, class_balance and pretrain; writes model.safetensors and history.csv. On digits
(1,797 images) one network reaches the top-1 accuracy that bench/README.md states, with n and cost.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from stages.lib.augment_params import AugmentationParams
from stages.lib.class_plan import ClassPlan, read_plan
from stages.lib.cli import Context, stage_main
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.history import last_figures, report_to, write_history
from stages.lib.training_params import Epochs, Seeds, SteppingParams, Widths

if TYPE_CHECKING:
    import torch

    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.loop import LoopState, Recipe, Report
    from stages.lib.nets import Architecture, Classifier
    from stages.lib.weights import Card


class Params(SteppingParams, AugmentationParams):
    """Section `train`."""

    seeds: Seeds
    init: Literal["pretrain", "random"]
    widths: Widths
    epochs: Epochs
    head_epochs: int = Field(ge=0, le=10_000)
    body_rate: float = Field(gt=0, le=10)
    label_smoothing: float = Field(ge=0, lt=1)


def recipe_of(params: Params, seed: int) -> "Recipe":
    """Return the phases: the new head alone on a pretrained body, then everything; else only everything."""
    from stages.lib.loop import Phase

    phases = [Phase("all", params.epochs, params.body_rate if params.init == "pretrain" else 1.0)]
    if params.init == "pretrain" and params.head_epochs:
        phases.insert(0, Phase("head", params.head_epochs, body_rate=0.0))
    return params.recipe(tuple(phases), params.augmentation(), seed)


def network_of(
    architecture: "Architecture",
    log_prior: "torch.Tensor",
    seed: int,
    body: "dict[str, torch.Tensor] | None" = None,
) -> "Classifier":
    """Return a classifier that predicts the class prior, on the given body or a random one."""
    from stages.lib.counters import generator
    from stages.lib.nets import new_classifier

    network = new_classifier(architecture, log_prior.cpu(), generator(log_prior.cpu().device, "train", seed))
    if body is not None:
        network.body.load_state_dict(body)
    return network.to(log_prior.device)


def fit_classifier(
    dataset: Dataset,
    plan: ClassPlan,
    encoder: Path,
    params: Params,
    seed: int,
    store: "CheckpointStore | None" = None,
    report: "Report | None" = None,
) -> "tuple[LoopState, Card]":
    """Train on the train split, from the encoder file or from nothing; return the state and what it is."""
    import torch

    from stages.lib.device import torch_device
    from stages.lib.loop import LoopState, fit
    from stages.lib.tasks import Classification
    from stages.lib.training_data import architecture_for, held_out, labels_of, log_prior, training_set
    from stages.lib.weights import Card, load_encoder

    device = torch_device(dataset.pixels.shape[1])
    architecture = architecture_for(dataset, params.widths)
    body, card, sha256 = load_encoder(encoder, architecture)
    train, val = dataset.part("train"), dataset.part("val")
    start = body if params.init == "pretrain" else None
    network = network_of(architecture, log_prior(dataset, train, plan, device), seed, start)
    task = Classification(
        labels_of(dataset, train, device),
        torch.from_numpy(plan.loss).float().to(device),
        params.label_smoothing,
        held_out(dataset, val, card.normalisation, device),
    )
    data = training_set(dataset, train, card.normalisation, device, plan)
    recipe = recipe_of(params, seed)
    state = LoopState.start(network, recipe)
    fit(state, task, data, recipe, store=store, report=report, label=f"training seed {seed}")
    return state, Card("classifier", architecture, dataset.classes, card.normalisation, {"encoder": sha256})


def run(
    params: Params,
    *,
    ingest: Path,
    curate: Path,
    split: Path,
    class_balance: Path,
    pretrain: Path,
    seed: int,
    out: Path,
    context: Context,
) -> dict[str, Any]:
    """Train the network of one seed."""
    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.nets import count_parameters
    from stages.lib.weights import ENCODER, MODEL, save_weights

    dataset = load_dataset(ingest, curate, split)
    plan = read_plan(class_balance, dataset.classes)
    store = CheckpointStore(context.checkpoints, context.key)
    encoder = pretrain / ENCODER
    state, card = fit_classifier(dataset, plan, encoder, params, seed, store, report_to(context.journal))
    save_weights(out / MODEL, state.averaged.state_dict(), card)
    write_history(out / "history.csv", state.history)
    store.retire()
    return {
        "n_train": len(dataset.part("train")),
        "n_val": len(dataset.part("val")),
        "n_parameters": count_parameters(state.network),
        "epochs": state.epoch,
        "steps": state.step,
        **last_figures(state.history),
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
