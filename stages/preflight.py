"""Preflight: check that the network can learn from this data before an hour is spent on it.

Every check is measured, held against a stated bound and recorded (lib/health.py says what each one finds);
one that fails stops the chain. batch.png shows a batch as it enters the network: augmented, normalised, and
brought back to pixels, with its labels; augmented.png some of its samples as they are and in seven views.

Reads ingest, curate, split and class_balance; writes checks.json and both pictures. Source: Karpathy, A
Recipe for Training Neural Networks (2019). On at most 2,048 train and 1,024 val images, whatever the data
set's size.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from stages.lib.artifacts import write_json
from stages.lib.augment_params import AugmentationParams
from stages.lib.batch_picture import draw_batch
from stages.lib.class_plan import ClassPlan, read_plan
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.dataset import Dataset, load_dataset
from stages.lib.errors import InputError
from stages.lib.normalise import fit_normalisation
from stages.lib.progress import say
from stages.lib.training_params import EngineParams, NetworkParams, Seed

if TYPE_CHECKING:
    import torch

    from stages.lib.checks import Check
    from stages.lib.loop import TrainingSet
    from stages.lib.nets import Classifier
    from stages.lib.recipe import Recipe
    from stages.lib.tasks import Classification, Held

MOST_TRAIN, MOST_VAL = 2048, 1024
"""Enough for every check to be far from its bound in a healthy run, few enough for seconds."""

LEAST_HELD = 256
"""Images that a short run is judged on: a gain of an eighth of its deviation is then 2 standard errors."""


class Params(Section):
    """Section `preflight`."""

    seed: Seed
    batch_size: int = Field(ge=2, le=256)
    overfit_steps: int = Field(ge=10, le=10_000)
    short_run_steps: int = Field(ge=10, le=100_000)
    doublings: int = Field(ge=0, le=10)


class TrainView(EngineParams, NetworkParams, AugmentationParams):
    """The recipe that is to be checked."""


@dataclass(frozen=True)
class Subject:
    """A new network with what it is about to learn from: the task without smoothing.

    batch (B,) are positions of one random batch in the training set, learned (M,) those that a short run
    learns from: the others are in `held`, with val. true_labels (N,) come straight from the data set, beside
    what the task holds; log_prior (K,).
    """

    network: "Classifier"
    task: "Classification"
    data: "TrainingSet"
    recipe: "Recipe"
    batch: "torch.Tensor"
    learned: "torch.Tensor"
    held: "Held"
    true_labels: "torch.Tensor"
    log_prior: "torch.Tensor"


def sample_of(dataset: Dataset, seed: int) -> Dataset:
    """Return the data set with at most MOST_TRAIN train and MOST_VAL val samples left in their splits."""
    split = np.full(len(dataset.split), "", dataset.split.dtype)
    for name, most in (("train", MOST_TRAIN), ("val", MOST_VAL)):
        chosen = np.random.default_rng(seed).permutation(dataset.part(name))[:most]
        split[chosen] = name
    return replace(dataset, split=split)


def subject_of(dataset: Dataset, plan: ClassPlan, params: Params, train: TrainView) -> Subject:
    """Build network, task and data as `train` does."""
    import torch

    from stages.lib.counters import epoch_order, generator
    from stages.lib.device import torch_device
    from stages.lib.nets import new_classifier
    from stages.lib.tasks import Classification
    from stages.lib.training_data import architecture_for, held_out, labels_of, log_prior, training_set

    device = torch_device(dataset.pixels.shape[1])
    positions = dataset.part("train")
    normalisation = fit_normalisation(dataset.pixels[positions])
    data = training_set(dataset, positions, normalisation, device, plan)
    labels, prior = labels_of(dataset, positions, device), log_prior(dataset, positions, plan, device)
    randomness = generator(torch.device("cpu"), "preflight", params.seed)
    architecture = architecture_for(dataset, train.widths, train.network)
    network = new_classifier(architecture, prior.cpu(), randomness).to(device)
    weights = torch.from_numpy(plan.loss).float().to(device)
    task = Classification(labels, weights, 0.0, val=None)
    learned, lent = lend(len(positions), len(dataset.part("val")), params.seed)
    held = held_out(dataset, np.r_[dataset.part("val"), positions[lent]], normalisation, device)
    assert held is not None, "a third of train at least"
    batch = epoch_order(len(positions), data.sampling, params.seed, epoch=0)[: params.batch_size].to(device)
    recipe = recipe_of(train, params.seed)
    return Subject(
        network, task, data, recipe, batch, torch.from_numpy(learned).to(device), held, labels.clone(), prior
    )


def lend(n_train: int, n_val: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of train that a short run learns from, and those it is judged on beside val.

    Where val has fewer than LEAST_HELD images, up to a third of train is lent: 29 tell little.
    """
    order = np.random.default_rng(seed).permutation(n_train)
    n_lent = min(max(0, LEAST_HELD - n_val), max(n_train // 3, 1))
    return np.sort(order[n_lent:]), np.sort(order[:n_lent])


def recipe_of(train: TrainView, seed: int) -> "Recipe":
    """Return one epoch of the recipe that `train` follows, with the last weights kept and no early end."""
    from stages.lib.recipe import Phase

    recipe = train.recipe((Phase("short", 1, body_rate=1.0),), train.augmentation(), seed)
    return replace(recipe, ema_decay=0.0, patience=0)


def data_checks(dataset: Dataset, subject: Subject) -> "list[Check]":
    """Check labels, pixels, normalisation and augmentation."""
    from stages.lib import health
    from stages.lib.loop import prepare

    positions = dataset.part("train")
    plain = replace(subject.recipe, augmentation=None)
    everything = subject.batch.new_tensor(range(len(positions)))
    whole = prepare(subject.data, plain, everything, _randomness(subject))
    augmentation = subject.recipe.augmentation
    checks = [
        health.labels_fit(dataset.labels[positions], len(subject.data.images), len(dataset.classes)),
        health.pixels_vary(dataset.pixels[positions]),
        health.normalised_train(whole),
    ]
    if augmentation is not None:
        images = subject.data.images[subject.batch].float() / 255
        checks.append(health.identity_augmentation(images, augmentation))
    return checks


def network_checks(subject: Subject) -> "list[Check]":
    """Check the network before its first step, on as many images as go through it in one pass."""
    import torch

    from stages.lib import health
    from stages.lib.loop import prepare
    from stages.lib.tasks import CHUNK

    plain = replace(subject.recipe, augmentation=None)
    index = torch.arange(min(len(subject.true_labels), CHUNK), device=subject.true_labels.device)
    images = prepare(subject.data, plain, index, _randomness(subject))
    some = prepare(subject.data, plain, subject.batch, _randomness(subject))
    with torch.no_grad():
        first = float(subject.task.loss(subject.network.eval(), images, index, _randomness(subject)))
    labels = subject.true_labels[index]
    return [
        health.output_bias(subject.network.head.bias, subject.log_prior),
        health.initial_loss(first, labels, subject.log_prior, subject.task.loss_weights),
        health.batch_independence(subject.network, some),
        health.repeatable_inference(subject.network, some),
        health.dead_parameters(subject.network, subject.task, some, subject.batch),
    ]


def learning_checks(subject: Subject, params: Params) -> "list[Check]":
    """Check that the network learns: one batch by heart, and in a short run what new images are."""
    return [
        *patiently(_by_heart(subject), params.overfit_steps, params.doublings),
        *patiently(_in_a_short_run(subject), params.short_run_steps, params.doublings),
    ]


def _by_heart(subject: Subject) -> "Callable[[int], list[Check]]":
    from stages.lib import health

    task, data = part_of(subject, subject.batch)
    memory = health.Memory(subject.network, task, data, subject.recipe.learning_rate, subject.recipe.rule)
    labels = subject.true_labels[subject.batch]
    return lambda steps: [memory.go_on(steps).check(labels)]


def _in_a_short_run(subject: Subject) -> "Callable[[int], list[Check]]":
    from stages.lib import health, short_run

    task, data = part_of(subject, subject.learned)
    run = short_run.ShortRun(subject.network, task, data, subject.recipe, subject.held)

    def attempt(steps: int) -> "list[Check]":
        run.go_on(steps, "short run")
        return [health.loss_falls(run.train_losses), short_run.sees_its_input(run, subject.recipe.seed)]

    return attempt


def part_of(subject: Subject, index: "torch.Tensor") -> "tuple[Classification, TrainingSet]":
    """Return task and data of the training samples at `index` (M,) alone."""
    data, rows = subject.data, index.tolist()
    part = replace(
        data,
        images=data.images[index],
        sample_ids=tuple(data.sample_ids[at] for at in rows),
        sampling=None if data.sampling is None else data.sampling[index.cpu()],
    )
    return replace(subject.task, labels=subject.task.labels[index]), part


def patiently(attempt: "Callable[[int], list[Check]]", steps: int, doublings: int) -> "list[Check]":
    """Go on for `steps`, and while a check fails for as many again as were made, up to `doublings` times.

    Photographs need some hundred steps where digits need fifty; a bug does not go away with more of them.
    """
    checks = attempt(steps)
    for doubling in range(doublings):
        if all(check.passed for check in checks):
            break
        made = steps * 2**doubling
        say(f"not learned in {made} steps, going on to {2 * made}")
        checks = attempt(made)
    return checks


def _randomness(subject: Subject) -> "torch.Generator":
    from stages.lib.counters import generator

    return generator(subject.data.images.device, "preflight", subject.recipe.seed)


def batch_as_seen(subject: Subject) -> np.ndarray:
    """Return the batch just before the network, brought back to pixels (B, H, W, C) uint8."""
    from stages.lib.loop import prepare
    from stages.lib.normalise import denormalise

    ready = prepare(subject.data, subject.recipe, subject.batch, _randomness(subject))
    back = denormalise(ready, subject.data.normalisation).clamp(0, 1) * 255
    return np.asarray(back.round().byte().permute(0, 2, 3, 1).cpu().numpy())


def table_of(checks: "Sequence[Check]") -> str:
    """Return the checks as aligned lines."""
    lines = [f"{'ok  ' if c.passed else 'FAIL'}  {c.name:<22}{c.value:>12.4g}  {c.bound}" for c in checks]
    return "\n".join(lines)


def require_all(checks: "Sequence[Check]") -> None:
    """Raise InputError that lists every failed check with what it means."""
    failed = [check for check in checks if not check.passed]
    if failed:
        lines = [f"  {c.name} is {c.value:.4g}, must be {c.bound}: {c.why}" for c in failed]
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
    """Run every check; write nothing when one failed."""
    from stages.lib.augmented_picture import augmented_views

    dataset = sample_of(load_dataset(ingest, curate, split), params.seed)
    plan = read_plan(class_balance, dataset.classes)
    subject = subject_of(dataset, plan, params, train)
    checks = [*data_checks(dataset, subject), *network_checks(subject), *learning_checks(subject, params)]
    for line in table_of(checks).splitlines():
        say(line)
    require_all(checks)
    captions = [dataset.classes[label] for label in subject.true_labels[subject.batch].tolist()]
    draw_batch(out / "batch.png", batch_as_seen(subject), captions)
    draw_batch(out / "augmented.png", *augmented_views(subject.data, subject.recipe, subject.batch, captions))
    write_json(out / "checks.json", {"passed": True, "checks": [asdict(check) for check in checks]})
    return {
        "n_checks": len(checks),
        "n_passed": sum(check.passed for check in checks),
        "checks": {check.name: check.value for check in checks},
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
