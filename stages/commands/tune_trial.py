"""One trial: what the stage `train` does, with other params, and stopped early if it is hopeless."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages import train as training
from stages.lib.config import parse_section
from stages.lib.errors import InputError
from stages.lib.history import Row, report_to
from stages.lib.journal import Journal
from stages.lib.search_space import SECTION, patched
from stages.lib.tune_data import Material

if TYPE_CHECKING:
    from optuna import Trial
    from torch import nn

    from stages.lib.normalise import Normalisation

UPWARDS = {"val_top1_accuracy": True, "val_loss": False}
"""The metrics, and whether more of them is better."""


class HopelessError(Exception):
    """Raised out of the loop, to leave it: the pruner has seen enough."""


@dataclass(frozen=True)
class Outcome:
    """scores (V, S) float32: the metric of each val sample and seed; None, and why, if it ended early."""

    scores: np.ndarray | None
    reason: str
    epochs: int


@dataclass(frozen=True)
class Recipe:
    """What all trials of a study have in common: the section train, the metric, and the seeds."""

    section: Mapping[str, Any]
    metric: str
    seeds: tuple[int, ...]

    def params(self, values: Mapping[str, Any]) -> tuple[training.Params | None, str]:
        """Return train's params with drawn values in place, or None and why they do not go together."""
        params, faults = parse_section(training.Params, SECTION, {SECTION: patched(self.section, values)})
        return params, "; ".join(fault.strip() for fault in faults)


def run_trial(
    recipe: Recipe,
    values: Mapping[str, Any],
    material: Material,
    checkpoints: Path,
    key: str,
    trial: "Trial",
    journal: Journal,
    *,
    may_stop: bool,
) -> Outcome:
    """Train every seed; `trial` hears of each epoch of the first, and may stop there where it is hopeless.

    What was trained before a kill is taken up from `checkpoints`. InputError names the drawn values.
    """
    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.divergence import DivergedError

    params, refusal = recipe.params(values)
    if params is None:
        return Outcome(None, f"refused: {refusal}", 0)
    told = _Reporter(recipe.metric, trial, journal, may_stop)
    soft = material.votes if params.targets == "annotators" else None
    scores = []
    try:
        for seed in recipe.seeds:
            store = CheckpointStore(checkpoints / f"seed{seed}", f"{key}-{seed}")
            state, card, _ = training.fit_classifier(
                material.dataset, material.plan, material.encoder, params, seed, store, told.report, soft
            )
            scores.append(val_scores(state.averaged, card.normalisation, material, recipe.metric))
            told.first = False
    except HopelessError:
        return Outcome(None, "pruned", told.epochs)
    except DivergedError as error:
        return Outcome(None, f"diverged: {error}", told.epochs)
    except InputError as error:
        shown = ", ".join(f"{name}={value}" for name, value in values.items())
        raise InputError(f"the trial with {shown}: {error}") from error
    return Outcome(np.stack(scores, axis=1), "", told.epochs)


class _Reporter:
    """Hands each epoch to the journal, and of the first seed to the pruner; raises HopelessError."""

    def __init__(self, metric: str, trial: "Trial", journal: Journal, may_stop: bool) -> None:
        self.first = True
        self.epochs = 0
        self._metric = metric
        self._trial = trial
        self._may_stop = may_stop
        self._journal = report_to(journal)

    def report(self, row: Row) -> None:
        """Take one epoch's figures."""
        self.epochs += 1
        if not self.first:
            return
        self._journal(row)
        self._trial.report(float(row[self._metric]), int(row["epoch"]))
        if self._may_stop and self._trial.should_prune():
            raise HopelessError


def val_scores(
    network: "nn.Module", normalisation: "Normalisation", material: Material, metric: str
) -> np.ndarray:
    """Return the metric (V,) float32 of each val sample: 1 right and 0 wrong, or its log loss."""
    import torch

    from stages.lib.feeding import images_near
    from stages.lib.tasks import forward

    dataset = material.dataset
    device = next(network.parameters()).device
    logits = forward(network, images_near(dataset.pixels[dataset.part("val")], device), normalisation)
    labels = torch.from_numpy(material.val_labels).to(device)
    if metric == "val_loss":
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        return np.asarray(losses.cpu().numpy(), np.float32)
    return np.asarray((logits.argmax(1) == labels).cpu().numpy(), np.float32)
