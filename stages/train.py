"""Train: fine-tune one network per seed from the pretrained body, head first, then everything.

The published weights are the running mean (EMA) of the last epochs' weights: there is no choice among epochs
(unless `patience` asks for one), so val is looked at but not fitted, and test is never read. Which samples
are drawn and how much they count follows the class plan, on train only.

Reads ingest, curate, split, class_balance and pretrain; writes model.safetensors, network.json (what the
network costs, and what its starting weights matched), history.csv, followed.csv (what it believed of eight
val images after each epoch), filters.png (its first layer) and activations.csv (how large its maps are). On
digits (1,797 images) one network reaches the top-1 accuracy that bench/README.md states, with n and cost.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.lib.artifacts import write_json
from stages.lib.augment_params import AugmentationParams
from stages.lib.class_plan import ClassPlan, read_plan
from stages.lib.cli import Context, stage_main
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.errors import prefixed
from stages.lib.history import Row, figures_of, report_to, write_history
from stages.lib.progress import say
from stages.lib.training_params import Epochs, Seeds, StartParams

if TYPE_CHECKING:
    import torch

    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.checks import Check
    from stages.lib.inside_network import Inside
    from stages.lib.loop import Report
    from stages.lib.loop_state import LoopState
    from stages.lib.nets import Architecture, Classifier
    from stages.lib.normalise import Normalisation
    from stages.lib.recipe import Recipe
    from stages.lib.starting_weights import Start
    from stages.lib.weights import Card

NETWORK = "network.json"

LOOKED_AT = 256
"""Images that tell which channels are dead: one that answers to none of them answers to next to none."""


class Params(StartParams, AugmentationParams):
    """Section `train`."""

    seeds: Seeds
    epochs: Epochs
    head_epochs: int = Field(ge=0, le=10_000)
    dropout: float = Field(ge=0, lt=1)
    drop_path: float = Field(ge=0, lt=1)
    targets: Literal["labels", "annotators"]
    label_smoothing: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _goes_together(self) -> "Params":
        if self.drop_path and self.network == "whitened":
            raise ValueError(
                "drop_path skips blocks that have a way around them; network: whitened has none: set it to 0"
            )
        return self


def epochs_of(params: Params) -> dict[str, int]:
    """Return the epochs of each phase: the new head alone on a body that knows something, then all of it."""
    head = {"head": params.head_epochs} if params.init != "random" and params.head_epochs else {}
    return head | {"all": params.epochs}


def recipe_of(params: Params, seed: int) -> "Recipe":
    """Return how one network is trained."""
    from stages.lib.recipe import Phase

    rates = {"head": 0.0, "all": 1.0 if params.init == "random" else params.body_rate}
    phases = tuple(Phase(name, epochs, rates[name]) for name, epochs in epochs_of(params).items())
    return params.recipe(phases, params.augmentation(), seed)


def network_of(
    architecture: "Architecture",
    log_prior: "torch.Tensor",
    seed: int,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> "Classifier":
    """Return a random classifier, on the CPU, that predicts the class prior."""
    from stages.lib.counters import generator
    from stages.lib.nets import new_classifier

    prior = log_prior.cpu()
    randomness = generator(prior.device, "train", seed)
    with prefixed("train."):
        return new_classifier(architecture, prior, randomness, dropout, drop_path)


def fit_classifier(
    dataset: Dataset,
    plan: ClassPlan,
    encoder: Path,
    params: Params,
    seed: int,
    store: "CheckpointStore | None" = None,
    report: "Report | None" = None,
    soft: np.ndarray | None = None,
) -> "tuple[LoopState, Card, Start]":
    """Train on the train split, from where params.init says; return the state, what it is, and the start.

    soft (M, K): targets of the train samples that stand in for their labels.
    """
    import torch

    from stages.lib.device import torch_device
    from stages.lib.followed import chosen
    from stages.lib.loop import fit
    from stages.lib.loop_state import LoopState
    from stages.lib.starting_weights import start_body
    from stages.lib.tasks import Classification
    from stages.lib.training_data import (
        architecture_for,
        fit_first_layer,
        held_out,
        labels_of,
        log_prior,
        training_set,
    )
    from stages.lib.weights import Card

    device = torch_device(dataset.pixels.shape[1])
    architecture = architecture_for(dataset, params.widths, params.network)
    train, val = dataset.part("train"), dataset.part("val")
    prior = log_prior(dataset, train, plan, device)
    network = network_of(architecture, prior, seed, params.dropout, params.drop_path)
    start = start_body(network.body, architecture, params.init, encoder, params.init_file, params.init_sha256)
    if params.init == "random":
        fit_first_layer(network, dataset, train, start.normalisation)
    task = Classification(
        labels_of(dataset, train, device),
        torch.from_numpy(plan.loss).float().to(device),
        params.label_smoothing,
        held_out(dataset, val, start.normalisation, device),
        None if soft is None else torch.from_numpy(soft).to(device),
        chosen(len(val)),
    )
    data = training_set(dataset, train, start.normalisation, device, plan, may_stream=True)
    recipe = recipe_of(params, seed)
    state = LoopState.start(network.to(device), recipe)
    fit(state, task, data, recipe, store=store, report=report, label=f"training seed {seed}")
    card = Card("classifier", architecture, dataset.classes, start.normalisation, start.parents)
    return state, card, start


def kept_figures(history: "Sequence[Row]", recipe: "Recipe") -> dict[str, float]:
    """Return what the published weights reached, and with patience the epoch that they are of."""
    from stages.lib.stopping import kept_row

    row = kept_row(history, recipe)
    chosen = {"best_epoch": int(row["epoch"])} if recipe.patience else {}
    return {**chosen, **figures_of(row)}


def inside_of(network: "torch.nn.Module", dataset: Dataset, normalisation: "Normalisation") -> "Inside":
    """Look at the trained network with images spread evenly over val, or over train where val is empty."""
    from stages.lib.inside_network import look_inside
    from stages.lib.normalise import normalise
    from stages.lib.tasks import as_images

    rows = dataset.part("val") if len(dataset.part("val")) else dataset.part("train")
    rows = rows[np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).round().astype(int)]
    images = as_images(dataset.pixels[rows], next(network.parameters()).device).float() / 255
    return look_inside(network, normalise(images, normalisation))


def warn_of(checks: "Sequence[Check]") -> None:
    """Say which maps have gone wrong; the network is published all the same, and its test accuracy tells."""
    for check in checks:
        if not check.passed:
            say(f"{check.name} is {check.value:.4g}, expected {check.bound}: {check.why}")


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
    import torch

    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.followed import write_followed
    from stages.lib.net_report import describe
    from stages.lib.soft_targets import annotator_targets
    from stages.lib.weights import ENCODER, MODEL, save_weights

    dataset = load_dataset(ingest, curate, split)
    plan = read_plan(class_balance, dataset.classes)
    store = CheckpointStore(context.checkpoints, context.key)
    train = dataset.part("train")
    soft = annotator_targets(curate, dataset, train) if params.targets == "annotators" else None
    state, card, start = fit_classifier(
        dataset, plan, pretrain / ENCODER, params, seed, store, report_to(context.journal), soft
    )
    costs = describe(state.network, card.architecture.channels, card.architecture.image_size)
    save_weights(out / MODEL, state.averaged.state_dict(), card)
    same_bits = {"deterministic": torch.are_deterministic_algorithms_enabled()}
    write_json(out / NETWORK, {"network": params.network, "start": start.facts, **same_bits, **costs})
    write_history(out / "history.csv", state.history)
    val_ids = [dataset.sample_ids[row] for row in dataset.part("val")]
    write_followed(out / "followed.csv", state.history, val_ids)
    inside = inside_of(state.averaged, dataset, card.normalisation)
    inside.write(out)
    warn_of(inside.checks())
    store.retire()
    return {
        "n_train": len(train),
        "n_val": len(dataset.part("val")),
        "n_parameters": costs["n_parameters"],
        "flops_per_image": costs["flops_per_image"],
        "micro_batches": state.parts,
        "epochs": state.epoch,
        "steps": state.step,
        **{check.name: check.value for check in inside.checks()},
        **kept_figures(state.history, recipe_of(params, seed)),
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run, shareable=True)
