"""Bugs that people plant in training code by accident, and set-ups in which nothing is wrong.

Each bug changes the code that trains (or what it is given), never the checks; `caught_by` runs the checks as
the stage does and says which one stops the chain. `python -m bench.mutations` prints both tables.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stages import preflight
from stages.lib import (
    fine_tuning,
    input_checks,
    loop,
    loop_state,
    nets,
    rates,
    start_checks,
    tasks,
    training_data,
)
from stages.lib.class_plan import ClassPlan
from stages.lib.dataset import Dataset
from stages.lib.digits import read_digits, to_8_bit
from stages.lib.divergence import DivergedError
from stages.lib.nets import Architecture, Body
from stages.lib.normalise import Normalisation, fit_normalisation, normalise
from stages.lib.preflight_checks import Budget, Record, every_check
from stages.lib.preflight_subject import Subject, subject_of
from stages.lib.recipe import Recipe
from stages.lib.tasks import Classification, Held
from tests.prepared_data import bars, split_names
from tests.training_fixture import AUGMENTATION, ENGINE, NETWORK, RANDOM, STEPPING, UNCHANGED, even_plan

Patch = pytest.MonkeyPatch
BUDGET = Budget(overfit_steps=60, short_run_steps=60, doublings=2)


@dataclass(frozen=True)
class Setup:
    """A data set, a plan and a recipe, as a user would have them."""

    dataset: Dataset
    plan: ClassPlan
    train: preflight.TrainView
    budget: Budget = BUDGET
    batch_size: int = 24

    @property
    def architecture(self) -> Architecture:
        """The network that `train` names, for these pictures."""
        return training_data.architecture_for(self.dataset, self.train.widths, self.train.network)


@dataclass(frozen=True)
class Bug:
    """One planted bug: in the code (patched), in the data set, or in what training is given."""

    name: str
    code: Callable[[Patch], None] = lambda _: None
    dataset: Callable[[Dataset], Dataset] = lambda dataset: dataset
    recipe: Callable[[Recipe], Recipe] = lambda recipe: recipe
    subject: Callable[[Subject], Subject] = lambda subject: subject
    imbalanced: bool = False
    trains: bool = False
    """Whether it takes training to find it, a second or two."""


def caught_by(setup: Setup, bug: Bug) -> str | None:
    """Plant the bug, run the checks until one fails, and return its name; None where all pass."""
    with pytest.MonkeyPatch.context() as patch:
        bug.code(patch)
        given = bug.dataset(setup.dataset)
        recipe = bug.recipe(preflight.recipe_of(setup.train, seed=0))
        origin = preflight.origin_of(setup.train)
        built = subject_of(given, setup.plan, recipe, setup.architecture, setup.batch_size, origin)
        subject = bug.subject(built)
        try:
            failed = (c for c in every_check(setup.dataset, subject, setup.budget, Record()) if not c.passed)
            first = next(failed, None)
        except DivergedError:
            return "DivergedError"
    return None if first is None else first.name


NO_BUG = Bug("healthy")


def dataset_of(pixels: np.ndarray, labels: np.ndarray, n_classes: int) -> Dataset:
    """Return the pictures with three fifths in train."""
    names = tuple(f"class {at}" for at in range(n_classes))
    ids = tuple(f"s{at:05}" for at in range(len(labels)))
    return Dataset(ids, pixels, labels.astype(np.int64), split_names(len(labels)), names)


def colour_bars(n: int, side: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return bars on a ground whose colour is not grey, so that channels can be told apart."""
    pixels, labels = bars(n, side, 3, seed)
    return np.clip(pixels + np.array([0, 30, 70]), 0, 255).astype(np.uint8), labels


def view(**changes: Any) -> preflight.TrainView:
    return preflight.TrainView(**STEPPING | ENGINE | NETWORK | AUGMENTATION | RANDOM | changes)


def base(*, imbalanced: bool = False) -> Setup:
    """Return the set-up that bugs are planted in: 300 colour pictures of three classes, or 1 : 40 : 40."""
    pixels, labels = colour_bars(300)
    order = np.random.default_rng(3).permutation(300)
    pixels, labels = pixels[order], labels[order]
    if imbalanced:
        rare = np.flatnonzero(labels == 0)[8:]
        kept = np.setdiff1d(np.arange(300), rare)
        pixels, labels = pixels[kept], labels[kept]
    return Setup(dataset_of(pixels, labels, 3), even_plan(3), view(init="pretrain"))


# Bugs in the code that trains


def _loss(change: Callable[..., torch.Tensor]) -> Callable[[Patch], None]:
    """Return a patch that calls `change(loss, task, network, images, index, randomness, mix)`."""
    right = Classification.loss

    def wrong(
        self: Classification, network: Any, images: Any, index: Any, randomness: Any, mix: Any = None
    ) -> torch.Tensor:
        return change(right, self, network, images, index, randomness, mix)

    return lambda patch: patch.setattr(Classification, "loss", wrong)


def _gradient(factor: float) -> Callable[[Patch], None]:
    """Return a patch under which the loss is right and its gradient is `factor` times as large."""

    def scaled(right: Callable[..., torch.Tensor], *given: Any) -> torch.Tensor:
        loss = right(*given)
        return factor * loss + (1 - factor) * loss.detach()

    return _loss(scaled)


def _of_logits(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Patch], None]:
    right = Classification._loss_of

    def wrong(self: Classification, logits: torch.Tensor, labels: Any, reduction: str) -> torch.Tensor:
        return right(self, change(logits), labels, reduction)

    return lambda patch: patch.setattr(Classification, "_loss_of", wrong)


def _reduction(patch: Patch) -> None:
    right = Classification._loss_of
    patch.setattr(
        Classification, "_loss_of", lambda self, logits, labels, _: right(self, logits, labels, "sum")
    )


def _images(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Patch], None]:
    """Return a patch that changes what reaches the first layer."""
    right = Body.forward
    return lambda patch: patch.setattr(Body, "forward", lambda self, images: right(self, change(images)))


def _features(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Patch], None]:
    right = Body.forward
    return lambda patch: patch.setattr(Body, "forward", lambda self, images: change(right(self, images)))


def _normalise(
    change: Callable[[torch.Tensor, Normalisation], torch.Tensor], *places: Any
) -> Callable[[Patch], None]:
    def plant(patch: Patch) -> None:
        for place in places:
            patch.setattr(place, "normalise", change)

    return plant


def _rows_in_place_of_axes(images: torch.Tensor) -> torch.Tensor:
    return images.permute(1, 2, 3, 0).reshape(images.shape)


def _viewed(patch: Patch) -> None:
    def as_images(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
        n, height, width, channels = pixels.shape
        return torch.from_numpy(pixels.copy()).to(device).view(n, channels, height, width)

    patch.setattr(training_data, "as_images", as_images)


def _other_parameters(patch: Patch) -> None:
    right = loop_state.LoopState.start.__func__  # type: ignore[attr-defined]

    def start(cls: Any, network: nn.Module, recipe: Recipe) -> Any:
        state = right(cls, network, recipe)
        state.network = copy.deepcopy(network)
        return state

    patch.setattr(loop_state.LoopState, "start", classmethod(start))


def _stamped(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Write the label into a row of each picture."""
    marked = images.clone()
    marked[:, :, 0, :] = labels.to(images)[:, None, None] * 2 - 2
    return marked


def _leak(patch: Patch) -> None:
    _loss(
        lambda right, task, network, images, index, *rest: right(
            task, network, _stamped(images, task.labels[index]), index, *rest
        )
    )(patch)

    def logits(self: Held, network: nn.Module) -> torch.Tensor:
        ready = normalise(self.images.float() / 255, self.normalisation)
        with torch.no_grad():
            return network.eval()(_stamped(ready, self.labels))

    patch.setattr(Held, "logits", logits)


def _train_leak(patch: Patch) -> None:
    _loss(
        lambda right, task, network, images, index, *rest: right(
            task, network, _stamped(images, task.labels[index]), index, *rest
        )
    )(patch)


def _neighbours(patch: Patch) -> None:
    for place in (loop, input_checks):
        patch.setattr(place, "augment", lambda images, *_: images.roll(1, 0))


def _mirrored_twice(patch: Patch) -> None:
    for place in (loop, input_checks):
        patch.setattr(place, "augment", lambda images, *_: images.flip(2))


def _repeated(patch: Patch) -> None:
    right = loop.epoch_order
    patch.setattr(
        loop,
        "epoch_order",
        lambda n, *rest: right(n, *rest).repeat_interleave(2)[:n],
    )


def _frozen_head(patch: Patch) -> None:
    right = fine_tuning.set_trainable

    def wrong(network: nn.Module, *how: Any, **named: Any) -> None:
        right(network, *how, **named)
        network.get_submodule("head").requires_grad_(False)

    for place in (loop, start_checks):
        patch.setattr(place, "set_trainable", wrong)


def _dead(subject: Subject) -> Subject:
    with torch.no_grad():
        for module in subject.network.body.blocks.modules():
            if isinstance(module, nn.GroupNorm):
                module.bias.fill_(-10.0)
    return subject


def _large_head(subject: Subject) -> Subject:
    with torch.no_grad():
        subject.network.head.weight.mul_(1000)
    return subject


def _other_statistics(subject: Subject) -> Subject:
    n = len(subject.data.normalisation.mean)
    other = Normalisation((0.485, 0.456, 0.406)[:n], (0.229, 0.224, 0.225)[:n])
    return replace(subject, held=replace(subject.held, normalisation=other))


def _other_class_order(subject: Subject) -> Subject:
    turned = (subject.held.labels + 1) % len(subject.log_prior)
    return replace(subject, held=replace(subject.held, labels=turned))


def _apart(dataset: Dataset) -> Dataset:
    return replace(dataset, labels=np.random.default_rng(5).permutation(dataset.labels))


def _frozen(images: torch.Tensor) -> torch.Tensor:
    return images.detach()


BUGS = (
    Bug(
        "labels shifted by one in the loss",
        _loss(lambda right, task, *rest: right(replace(task, labels=task.labels.roll(1)), *rest)),
        trains=True,
    ),
    Bug(
        "labels shifted by one in the table",
        dataset=lambda d: replace(d, labels=np.roll(d.labels, 1)),
        trains=True,
    ),
    Bug("normalised twice", _normalise(lambda x, n: normalise(normalise(x, n), n), loop, tasks)),
    Bug("not divided by 255", _normalise(lambda x, n: normalise(x * 255, n), loop, tasks)),
    Bug("softmax before cross-entropy", _of_logits(lambda logits: torch.softmax(logits, 1)), trains=True),
    Bug("view where permute was meant, in the data", _viewed),
    Bug("view where permute was meant, in the network", _images(_rows_in_place_of_axes)),
    Bug("dropout left on", _features(lambda x: functional.dropout(x, 0.5, training=True))),
    Bug("train transform at test", _normalise(lambda x, n: normalise(x.roll(2, 3), n), tasks)),
    Bug("channels swapped at inference", _normalise(lambda x, n: normalise(x.flip(1), n), tasks)),
    Bug("head frozen", _frozen_head),
    Bug("body cut off from the gradient", _features(_frozen)),
    Bug("loss summed", _reduction),
    Bug("optimiser on other parameters", _other_parameters),
    Bug("gradients zeroed", _gradient(0.0)),
    Bug(
        "gradients never cleared",
        lambda patch: patch.setattr(torch.optim.Optimizer, "zero_grad", lambda *_, **__: None),
        trains=True,
    ),
    Bug("sign of the gradient flipped", _gradient(-1.0), trains=True),
    Bug(
        "bias left at 0 under an uneven prior",
        lambda patch: patch.setattr(nets, "set_output_bias", lambda *_: None),
        imbalanced=True,
    ),
    Bug("label leaked into the picture", _leak),
    Bug("label leaked into the picture in training alone", _train_leak),
    Bug("norm over the batch at inference", _images(lambda x: (x - x.mean(0)) / (x.std(0) + 0.1))),
    Bug("input ignored", _images(torch.zeros_like)),
    Bug("images and labels shuffled apart", dataset=_apart, trains=True),
    Bug("learning rate 1,000 times too high", recipe=lambda r: replace(r, learning_rate=10.0)),
    Bug("learning rate a million times too low", recipe=lambda r: replace(r, learning_rate=1e-8)),
    Bug("learning rate 100,000 times too low", recipe=lambda r: replace(r, learning_rate=1e-7)),
    Bug("units dead", subject=_dead),
    Bug("head drawn too large", subject=_large_head),
    Bug("val normalised by other statistics", subject=_other_statistics),
    Bug("val labels in another class order", subject=_other_class_order, trains=True),
    Bug("every second sample of an epoch repeated", _repeated),
    Bug("augmentation hands over the neighbour's picture", _neighbours),
    Bug("augmentation turns pictures upside down", _mirrored_twice),
    Bug(
        "published average never updated",
        lambda patch: patch.setattr(loop, "_move_mean", lambda *_: None),
        trains=True,
    ),
)


def _of_batches(change: Callable[[Any], Any]) -> Callable[[Patch], None]:
    right = loop.batches_of

    def plant(patch: Patch) -> None:
        for place in (loop, input_checks):
            patch.setattr(place, "batches_of", lambda *given: change(right(*given)))

    return plant


def _first_step_only(patch: Patch) -> None:
    right = torch.optim.AdamW.step
    done: set[int] = set()

    def step(self: Any, *given: Any, **named: Any) -> None:
        if id(self) not in done:
            done.add(id(self))
            right(self, *given, **named)

    patch.setattr(torch.optim.AdamW, "step", step)


def _blackening(patch: Patch) -> None:
    patch.setattr(loop, "augment", lambda images, *_: torch.zeros_like(images))


def _squared_error(right: Any, task: Classification, network: Any, images: Any, index: Any, *_: Any) -> Any:
    wanted = functional.one_hot(task.labels[index], len(task.loss_weights)).float()
    return functional.mse_loss(network(images), wanted)


def _all_alike(subject: Subject) -> Subject:
    with torch.no_grad():
        for module in subject.network.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.fill_(0.05)
    return subject


def _statistics_of_val(subject: Subject) -> Subject:
    pixels = subject.held.images.permute(0, 2, 3, 1).numpy()
    other = fit_normalisation(pixels)
    data = replace(subject.data, normalisation=other)
    return replace(subject, data=data, held=replace(subject.held, normalisation=other))


def _val_from_train(subject: Subject) -> Subject:
    some = subject.learned[: len(subject.held.images)]
    held = replace(subject.held, images=subject.data.images[some], labels=subject.task.labels[some])
    rows = subject.train_rows[some.numpy()]
    return replace(subject, held=held, held_rows=rows)


def _dropped_out(subject: Subject) -> Subject:
    subject.network.dropout.p = 0.99
    return subject


def _forgetful(patch: Patch) -> None:
    right = torch.optim.AdamW.step

    def step(self: Any, *given: Any, **named: Any) -> None:
        self.state.clear()
        right(self, *given, **named)

    patch.setattr(torch.optim.AdamW, "step", step)


def _one_feature(features: torch.Tensor) -> torch.Tensor:
    kept = torch.zeros_like(features)
    kept[:, :1] = features[:, :1]
    return kept


LATER = (
    Bug("softmax over the batch", _of_logits(lambda logits: logits.log_softmax(0))),
    Bug(
        "labels by place in the batch",
        _loss(
            lambda right, task, network, images, index, *rest: right(
                task, network, images, torch.arange(len(index)), *rest
            )
        ),
        trains=True,
    ),
    Bug(
        "loss of the batch's first sample alone",
        _loss(
            lambda right, task, network, images, index, *rest: right(
                task, network, images[:1], index[:1], *rest
            )
        ),
    ),
    Bug("squared error in place of cross-entropy", _loss(_squared_error)),
    Bug(
        "targets smoothed to nothing",
        subject=lambda s: replace(s, task=replace(s.task, label_smoothing=1.0)),
        trains=True,
    ),
    Bug("a ReLU on the logits", _of_logits(torch.relu)),
    Bug("a tanh on the logits", _of_logits(torch.tanh), trains=True),
    Bug("one feature reaches the head", _features(_one_feature)),
    Bug("the same batch over and over", _of_batches(lambda batches: batches[:1] * len(batches))),
    Bug("the last batch dropped", _of_batches(lambda batches: batches[:-1])),
    Bug("only the first step taken", _first_step_only, trains=True),
    Bug("warm-up that never begins", lambda patch: patch.setattr(rates, "factor", lambda *_: 0.0)),
    Bug("weight decay of 1,000", recipe=lambda r: replace(r, weight_decay=1000.0)),
    Bug("gradients clipped to nothing", recipe=lambda r: replace(r, clip_norm=1e-12)),
    Bug("dropout of 99 %", subject=_dropped_out),
    Bug("weights all alike at the start", subject=_all_alike, trains=True),
    Bug("images mirrored at inference", _normalise(lambda x, n: normalise(x.flip(3), n), tasks)),
    Bug("colour lost", _normalise(lambda x, n: normalise(x.mean(1, keepdim=True).expand_as(x), n), loop)),
    Bug(
        "bright half of the scale clipped",
        _normalise(lambda x, n: normalise(x.clamp(max=0.5), n), loop, tasks),
    ),
    Bug(
        "divided by the variance",
        _normalise(lambda x, n: normalise(x, replace(n, std=tuple(s**2 for s in n.std))), loop, tasks),
    ),
    Bug("statistics of val", subject=_statistics_of_val),
    Bug("augmentation that blackens every picture", _blackening, trains=True),
    Bug("val made of training images", subject=_val_from_train),
    Bug("optimiser forgets its moments at each step", _forgetful, trains=True),
)
"""Written when the checks were done, to see what they catch that nobody had in mind."""


# Nothing wrong


def digits(n: int, classes: int = 10, *, rare: int = 0) -> Dataset:
    """Return the first `n` digits below `classes`; of class 0 only `rare`, unless that is 0."""
    images, labels = read_digits()
    kept = np.flatnonzero(labels < classes)[:n]
    if rare:
        kept = np.setdiff1d(kept, kept[labels[kept] == 0][rare:])
    return dataset_of(to_8_bit(images[kept])[..., None], labels[kept], classes)


def waves(n: int, side: int, classes: int, seed: int = 0) -> Dataset:
    """Return noisy colour pictures whose class is the direction of their stripes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    y, x = np.mgrid[:side, :side] / side
    angle = (labels * np.pi / classes)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    stripe = np.sin(2 * np.pi * 3 * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    colour = rng.uniform(0.3, 1, (n, 1, 1, 3))
    pixels = 128 + 60 * stripe[..., None] * colour + rng.normal(0, 25, (n, side, side, 3))
    return dataset_of(np.clip(pixels, 0, 255).astype(np.uint8), labels, classes)


def _bars(n: int, side: int, channels: int = 1) -> Dataset:
    return dataset_of(*bars(n, side, channels), 3)


def _even(dataset: Dataset, budget: Budget = BUDGET, **changes: Any) -> Setup:
    return Setup(dataset, even_plan(len(dataset.classes)), view(**changes), budget)


def _weighted(dataset: Dataset, *, loss: bool) -> Setup:
    counts = np.bincount(dataset.labels[dataset.part("train")], minlength=len(dataset.classes))
    weights, ones = counts.max() / np.maximum(counts, 1), np.ones(len(counts))
    plan = ClassPlan(ones, weights) if loss else ClassPlan(weights, ones)
    return Setup(dataset, plan, view(), BUDGET)


def _nested(name: str, **changes: Any) -> dict[str, Any]:
    """Return train's nested section `name` with some keys changed."""
    return {name: ENGINE[name] | changes}


def _augmented(**changes: Any) -> dict[str, Any]:
    return {"augment": AUGMENTATION["augment"].model_copy(update=changes)}


def _without_val(dataset: Dataset) -> Dataset:
    return replace(dataset, split=np.where(dataset.split == "val", "train", dataset.split))


LONG = Budget(overfit_steps=100, short_run_steps=60, doublings=4)

HEALTHY: dict[str, Callable[[], Setup]] = {
    "bars, 8 px, grey": lambda: _even(_bars(240, 8)),
    "bars, 90 images": lambda: _even(_bars(90, 8), LONG),
    "bars, 8 px, colour": base,
    "bars, 1 : 13 : 13": lambda: base(imbalanced=True),
    "bars, 16 px, three stages": lambda: _even(_bars(240, 16), LONG, widths=(8, 16, 24)),
    "bars, 12 px, one stage": lambda: _even(_bars(240, 12, 3), LONG, widths=(8,)),
    "bars without val": lambda: _even(_without_val(_bars(180, 8))),
    "bars, batches of 8": lambda: _even(_bars(240, 8), batch_size=8),
    "bars, one batch an epoch": lambda: _even(_bars(240, 8), LONG, batch_size=256),
    "bars without augmentation": lambda: _even(
        _bars(240, 8), augment=AUGMENTATION["augment"].model_copy(update=UNCHANGED)
    ),
    "bars, rate 1e-3": lambda: _even(_bars(240, 8), LONG, learning_rate=1e-3),
    "bars, rate 0.03": lambda: _even(_bars(240, 8), LONG, learning_rate=0.03),
    "digits": lambda: _even(digits(1800), LONG, widths=(16, 32)),
    "digits, the shipped network": lambda: _even(
        digits(600), LONG, widths=(24, 48, 96), learning_rate=3e-3, batch_size=64
    ),
    "digits, two classes": lambda: _even(digits(300, 2)),
    "digits, five classes": lambda: _even(digits(600, 5)),
    "digits, one class rare": lambda: _even(digits(600, 5, rare=12)),
    "digits, rare class weighted in the loss": lambda: _weighted(digits(600, 5, rare=12), loss=True),
    "digits, rare class drawn more often": lambda: _weighted(digits(600, 5, rare=12), loss=False),
    "digits, strong decay": lambda: _even(digits(600, 5), weight_decay=1.0),
    "stripes, 16 px, four classes": lambda: _even(waves(400, 16, 4), LONG, learning_rate=3e-3),
    "stripes, 24 px, eight classes": lambda: _even(
        waves(480, 24, 8), LONG, widths=(8, 16, 24), learning_rate=3e-3
    ),
    "bars, SGD with Nesterov's momentum": lambda: _even(
        _bars(240, 8), LONG, learning_rate=0.05, **_nested("optimizer", kind="sgd")
    ),
    "bars, Muon": lambda: _even(_bars(240, 8), LONG, **_nested("optimizer", kind="muon")),
    "bars, Muon that holds norms": lambda: _even(
        _bars(240, 8), LONG, **_nested("optimizer", kind="muon", hold_norm=True)
    ),
    "bars, one cycle": lambda: _even(
        _bars(240, 8), LONG, **_nested("schedule", kind="one_cycle", momentum_low=0.85)
    ),
    "bars, batches that grow": lambda: _even(
        _bars(240, 8), LONG, **_nested("schedule", grow_batch=True, largest_batch=64)
    ),
    "bars, first layer frozen, rates by depth": lambda: _even(
        _bars(240, 8), LONG, init="pretrain", **_nested("fine_tune", frozen_layers=1, layer_decay=0.7)
    ),
    "bars, the whole body frozen": lambda: _even(
        _bars(240, 8), LONG, init="pretrain", **_nested("fine_tune", frozen_layers=3)
    ),
    "bars, the rate of fine-tuning": lambda: _even(_bars(90, 8), LONG, init="pretrain", learning_rate=1e-4),
    "digits, the rate of careful fine-tuning": lambda: _even(
        digits(600), LONG, widths=(24, 48, 96), init="pretrain", learning_rate=3e-5, batch_size=64
    ),
    "digits, rates by depth at a low rate": lambda: _even(
        digits(600),
        LONG,
        init="pretrain",
        learning_rate=3e-4,
        batch_size=64,
        **_nested("fine_tune", layer_decay=0.65),
    ),
    "bars, clipped gradients in four parts": lambda: _even(
        _bars(240, 8), LONG, clip_norm=1.0, micro_batches=4
    ),
    "digits, mixup and erasing": lambda: _even(
        digits(600, 5), LONG, **_augmented(mix_share=0.5, mixup_alpha=0.4, erase_share=0.3)
    ),
    "stripes, 32 px, a batch-norm net of timm's": lambda: _even(
        waves(300, 32, 3), LONG, network="timm:test_resnet", learning_rate=3e-3
    ),
    "stripes, 32 px, a transformer of timm's": lambda: _even(
        waves(300, 32, 3), LONG, network="timm:test_vit", learning_rate=1e-3
    ),
}
"""Nets, class counts, imbalance, image sizes, channels and data that differ, with nothing wrong."""
