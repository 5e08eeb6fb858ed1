"""Preflight: check that the network can learn from this data before an hour is spent on it.

Every check is measured, held against a stated bound and recorded (lib/preflight_checks.py lists them); one
that fails stops the chain, once all that shows why is written. rates.csv is a learning-rate range test, which
suggests a rate and gates nothing. batch.png shows a batch as it enters the network: augmented, normalised,
and brought back to pixels, with its labels; augmented.png some of its samples as they are and in seven views.

Reads ingest, curate, split and class_balance; writes checks.json and those. Source: Karpathy, A Recipe for
Training Neural Networks (2019). On at most 2,048 train and 1,024 val images, whatever the data set's size.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from stages.lib.artifacts import write_csv, write_json
from stages.lib.augment_params import AugmentationParams
from stages.lib.batch_picture import draw_batch
from stages.lib.class_plan import read_plan
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.dataset import load_dataset
from stages.lib.errors import InputError
from stages.lib.progress import say
from stages.lib.training_params import Seed, StartParams

if TYPE_CHECKING:
    from stages.lib.checks import Check
    from stages.lib.preflight_subject import Subject
    from stages.lib.recipe import Recipe
    from stages.lib.starting_weights import Origin


class Params(Section):
    """Section `preflight`."""

    seed: Seed
    batch_size: int = Field(ge=2, le=256)
    overfit_steps: int = Field(ge=10, le=10_000)
    short_run_steps: int = Field(ge=10, le=100_000)
    doublings: int = Field(ge=0, le=10)


class TrainView(StartParams, AugmentationParams):
    """The recipe that is to be checked."""


def recipe_of(train: TrainView, seed: int) -> "Recipe":
    """Return one epoch of the recipe that `train` follows: last weights kept, no early end, not compiled.

    The body learns as train says where it starts from weights that are there already; body_rate 0 is all of
    its layers frozen. A short run has no val loss for a plateau to wait for: its rate stays, as before the
    first one.
    """
    from stages.lib.recipe import Phase

    rate = train.body_rate if origin_of(train).elsewhere else 1.0
    recipe = train.recipe((Phase("short", 1, body_rate=rate or 1.0),), train.augmentation(), seed)
    tuning = recipe.tuning if rate else replace(recipe.tuning, frozen_layers=sys.maxsize)
    how = recipe.schedule
    steady = replace(how, kind="constant") if how.kind == "plateau" else how
    return replace(recipe, schedule=steady, ema_decay=0.0, patience=0, compiled="eager", tuning=tuning)


def origin_of(train: TrainView) -> "Origin":
    """Return where the body starts."""
    from stages.lib.starting_weights import Origin

    return Origin(train.init, train.init_file, train.init_sha256)


def batch_as_seen(subject: "Subject") -> np.ndarray:
    """Return the batch just before the network, brought back to pixels (B, H, W, C) uint8."""
    from stages.lib.loop import prepare
    from stages.lib.normalise import denormalise

    ready = prepare(subject.data, subject.recipe, subject.batch, subject.randomness("batch"))
    back = denormalise(ready, subject.data.normalisation).clamp(0, 1) * 255
    return np.asarray(back.round().byte().permute(0, 2, 3, 1).cpu().numpy())


def table_of(checks: "Sequence[Check]") -> str:
    """Return the checks as aligned lines."""
    lines = [f"{'ok  ' if c.passed else 'FAIL'}  {c.name:<22}{c.value:>12.4g}  {c.bound}" for c in checks]
    return "\n".join(lines)


def draw(out: Path, subject: "Subject", classes: Sequence[str]) -> None:
    """Write batch.png and augmented.png."""
    from stages.lib.augmented_picture import augmented_views

    captions = [classes[label] for label in subject.true_labels[subject.batch].tolist()]
    draw_batch(out / "batch.png", batch_as_seen(subject), captions)
    shown = augmented_views(subject.data, subject.recipe, subject.batch, captions)
    draw_batch(out / "augmented.png", *shown)


def require_all(checks: "Sequence[Check]", rates: str, out: Path) -> None:
    """Raise InputError that says of every failed check what it means, and where to look; and of the rates."""
    failed = [check for check in checks if not check.passed]
    if failed:
        lines = [f"  {c.name} is {c.value:.4g}, must be {c.bound}: {c.why}" for c in failed]
        lines += [rates, f"what was measured: {out}/checks.json; what the network saw: {out}/batch.png"]
        raise InputError(f"{len(failed)} of {len(checks)} checks failed\n" + "\n".join(lines))


def run(
    params: Params,
    *,
    ingest: Path,
    curate: Path,
    split: Path,
    class_balance: Path,
    out: Path,
    train: TrainView,
) -> dict[str, Any]:
    """Run every check and write what it found; then InputError tells every one that failed."""
    from stages.lib.preflight_checks import Budget, Record, compiled_group, every_check
    from stages.lib.preflight_subject import sample_of, subject_of
    from stages.lib.stand_in import range_test
    from stages.lib.training_data import architecture_for

    dataset = sample_of(load_dataset(ingest, curate, split), params.seed)
    plan = read_plan(class_balance, dataset.classes)
    recipe = recipe_of(train, params.seed)
    architecture = architecture_for(dataset, train.widths, train.network)
    subject = subject_of(dataset, plan, recipe, architecture, params.batch_size, origin_of(train))
    budget, record = Budget(params.overfit_steps, params.short_run_steps, params.doublings), Record()
    draw(out, subject, dataset.classes)  # first: it may show why a check cannot even be measured
    checks = [*every_check(dataset, subject, budget, record), *compiled_group(subject, train.compile)]
    for line in table_of(checks).splitlines():
        say(line)
    rates = record.judged.rates if record.judged else range_test(subject)
    suggested = f"{rates.suggested:.2g}" if rates.suggested else "no rate"
    advice = f"the range test suggests {suggested} as learning_rate, which is {recipe.learning_rate:.2g}"
    say(advice)
    curve = zip(rates.rates.tolist(), rates.losses.tolist(), strict=True)
    write_csv(out / "rates.csv", ["learning_rate", "loss"], curve)
    passed = all(check.passed for check in checks)
    write_json(out / "checks.json", {"passed": passed, "checks": [asdict(check) for check in checks]})
    require_all(checks, advice, out)
    return {
        "n_checks": len(checks),
        "n_passed": sum(check.passed for check in checks),
        "suggested_learning_rate": rates.suggested,
        "judged_learning_rate": (record.judged.subject if record.judged else subject).recipe.learning_rate,
        "checks": {check.name: check.value for check in checks},
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
