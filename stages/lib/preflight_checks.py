"""Every check of preflight on one subject, the cheap ones first: what is measured where, and how patiently.

A generator, so that who wants only the first fault (the mutation suite) need not pay for the rest.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch

from stages.lib import input_checks, learning_checks, short_run, start_checks
from stages.lib.activations import activation_checks, activations, awake
from stages.lib.checks import Check
from stages.lib.compiling import Compile
from stages.lib.compiling_check import compiled_gradient
from stages.lib.dataset import Dataset
from stages.lib.preflight_subject import Subject, part_of
from stages.lib.progress import say
from stages.lib.short_run import ShortRun
from stages.lib.stand_in import Judged, judged
from stages.lib.tasks import CHUNK, forward

LOOKED_AT = 64
"""Images that are brought back to pixels: a fault of preparation shows on every one."""

MOST_BLIND = 512
"""Images that a run with nothing to learn from gets: a leak is the easiest thing to learn."""


@dataclass(frozen=True)
class Budget:
    """Steps of the two trainings, and how often each may go on for as many again."""

    overfit_steps: int
    short_run_steps: int
    doublings: int


@dataclass
class Record:
    """What later checks build on: by what a stand-in is judged, the short run, and the verdicts so far."""

    judged: Judged | None = None
    run: ShortRun | None = None
    checks: list[Check] = field(default_factory=list)


def every_check(dataset: Dataset, subject: Subject, budget: Budget, record: Record) -> Iterator[Check]:
    """Yield every check once; `record` keeps them, and what later ones build on.

    A check by which a stand-in was not judged as its recipe says, says so.
    """
    for group in _groups(dataset, subject, budget, record):
        for check in group:
            note = record.judged.note if record.judged else ""
            record.checks.append(replace(check, why=f"{check.why}; {note}") if note else check)
            yield record.checks[-1]


def _groups(dataset: Dataset, subject: Subject, budget: Budget, record: Record) -> Iterator[Iterable[Check]]:
    yield input_group(dataset, subject)
    yield start_group(subject)
    if subject.stands_in:
        record.judged = judged(subject)
        subject = record.judged.subject
        if record.judged.note:
            say(record.judged.note)
        yield record.judged.checks()
    yield patiently(_by_heart(subject), budget.overfit_steps, budget.doublings)
    yield patiently(_in_a_short_run(subject, record), budget.short_run_steps, budget.doublings)
    yield trained_group(subject, record, budget.doublings)
    yield blind_group(subject, record, budget.short_run_steps, budget.doublings)


def input_group(dataset: Dataset, subject: Subject) -> Iterator[Check]:
    """Check labels, pixels, normalisation, transforms and order."""
    rows, some = subject.train_rows, subject.batch[:LOOKED_AT]
    train, network = subject.data.normalisation, subject.network
    yield input_checks.labels_fit(dataset.labels[rows], len(subject.data.images), len(dataset.classes))
    yield input_checks.pixels_vary(dataset.pixels[rows])
    parts = [
        subject.plain(part) for part in torch.split(torch.arange(len(rows), device=subject.device), CHUNK)
    ]
    if subject.brought:
        parts = [input_checks.restated(part, *subject.brought) for part in parts]
    yield input_checks.normalised_train(parts)
    pixels = dataset.pixels[rows[some.cpu().numpy()]]
    with input_checks.Seen(network.eval()) as seen, torch.no_grad():
        subject.task.loss(network, subject.plain(some), some, subject.randomness("loss"))
    yield input_checks.as_decoded("train_as_decoded", torch.cat(seen.inputs), pixels, train)
    with input_checks.Seen(network) as seen:
        forward(network, subject.data.images[some], train)
    yield input_checks.as_decoded("inference_as_decoded", torch.cat(seen.inputs), pixels, train)
    few = replace(
        subject.held, images=subject.held.images[:LOOKED_AT], labels=subject.held.labels[:LOOKED_AT]
    )
    with input_checks.Seen(network) as seen:
        few.logits(network)
    pixels = dataset.pixels[subject.held_rows[:LOOKED_AT]]
    yield input_checks.as_decoded("held_as_decoded", torch.cat(seen.inputs), pixels, train)
    own = subject.brought.own if subject.brought else train
    yield input_checks.normalised_val(dataset.pixels[dataset.part("val")], own)
    yield input_checks.held_apart(subject.data.images[subject.learned], subject.held.images)
    if subject.recipe.augmentation is not None:
        images = subject.data.images[some].float() / 255
        yield input_checks.identity_augmentation(images, subject.recipe.augmentation)
    yield input_checks.visits(subject.data, subject.recipe, subject.true_labels)


def start_group(subject: Subject) -> Iterator[Check]:
    """Check the network before its first step, and that step."""
    network, task = subject.network, subject.task
    index = torch.arange(min(len(subject.true_labels), CHUNK), device=subject.device)
    some, many = subject.plain(subject.batch), subject.plain(index)
    with torch.no_grad():
        first = float(task.loss(start_checks.settled(network, many), many, index, subject.randomness("loss")))
    yield start_checks.output_bias(network.head.bias, subject.log_prior)
    yield start_checks.initial_loss(first, subject.true_labels[index], subject.log_prior, task.loss_weights)
    yield start_checks.batch_independence(network, some)
    yield start_checks.loss_of_each(network, task, some, subject.batch)
    yield start_checks.repeatable_inference(network, some)
    first_steps = start_checks.FirstSteps(network, *part_of(subject, subject.batch), subject.recipe).go_on(1)
    sizes = first_steps.sizes()
    stepped = first_steps.go_on(start_checks.MORE_STEPS).network
    tuning = subject.recipe.tuning
    yield start_checks.dead_parameters((network, stepped), task, some, subject.batch, tuning)
    yield first_steps.unmoved()
    yield from sizes
    before, after = (activations(start_checks.settled(each, some), some) for each in (network, stepped))
    yield from activation_checks("", awake(before, after))


def _by_heart(subject: Subject) -> Callable[[int], list[Check]]:
    task, data = part_of(subject, subject.batch)
    recipe = subject.recipe
    memory = learning_checks.Memory(subject.network, task, data, recipe.learning_rate, recipe.rule)
    labels = subject.true_labels[subject.batch]
    return lambda steps: [memory.go_on(steps).check(labels)]


def _in_a_short_run(subject: Subject, record: Record) -> Callable[[int], list[Check]]:
    task, data = part_of(subject, subject.learned)
    run = record.run = ShortRun(subject.network, task, data, subject.recipe, subject.held)

    def attempt(steps: int) -> list[Check]:
        run.go_on(steps, "short run")
        return [
            learning_checks.loss_falls(run.train_losses),
            short_run.sees_its_input(run, subject.recipe.seed),
        ]

    return attempt


def trained_group(subject: Subject, record: Record, doublings: int) -> Iterator[Check]:
    """Check the network that the short run trained: worth its size, and alive."""
    run = record.run
    assert run is not None, "after the short run"
    left = max(0, doublings - len(run.taken) + 1)
    yield from patiently(_worth_its_size(subject, run), sum(run.taken), left)
    yield from activation_checks("trained_", activations(run.state.network, subject.plain(subject.batch)))


def _worth_its_size(subject: Subject, run: ShortRun) -> Callable[[int], list[Check]]:
    task, data = part_of(subject, subject.learned)
    narrow = ShortRun(subject.narrow, task, data, subject.recipe, subject.held)

    def attempt(steps: int) -> list[Check]:
        if narrow.taken:
            run.go_on(steps, "short run")
        for missing in run.taken[len(narrow.taken) :]:
            narrow.go_on(missing, "smallest network")
        losses = run.train_losses[-1], narrow.train_losses[-1]
        return [learning_checks.capacity_pays(*losses, len(subject.log_prior))]

    return attempt


def blind_group(subject: Subject, record: Record, steps: int, doublings: int) -> Iterator[Check]:
    """Train where there is nothing to learn: black pictures, noise, labels dealt at random."""
    task, data = part_of(subject, subject.learned[:MOST_BLIND])
    held, seed, random = subject.held, subject.recipe.seed, subject.randomness("blind")
    real = record.run
    assert real is not None, "after the short run"
    for name, fault, fill in (("zeros", "fed black pictures", _black), ("noise", "fed noise", _noise)):
        shown = replace(data, images=fill(data.images, random))
        judged = replace(held, images=fill(held.images, random))
        run = ShortRun(subject.network, task, shown, subject.recipe, judged)
        yield from patiently(
            _beats(f"beats_{name}", real, run), steps, max(0, doublings - len(real.taken) + 1)
        )
        yield short_run.knows_nothing(f"learns_nothing_from_{name}", run, seed, fault)
    dealt = replace(task, labels=_dealt(task.labels, random))
    judged = replace(held, labels=_dealt(held.labels, random))
    run = ShortRun(subject.network, dealt, data, subject.recipe, judged).go_on(max(1, steps // 2), "shuffled")
    yield short_run.knows_nothing("learns_nothing_from_shuffled", run, seed, SHUFFLED)


def compiled_group(subject: Subject, how: Compile) -> Iterator[Check]:
    """Check that compiling changes nothing, where the recipe compiles; all other checks run as written."""
    if how != "eager":
        task, index = subject.task, subject.batch
        yield compiled_gradient(
            subject.network, task, subject.plain(index), index, subject.recipe.precision, how
        )


def _beats(name: str, real: ShortRun, blind: ShortRun) -> Callable[[int], list[Check]]:
    def attempt(steps: int) -> list[Check]:
        if blind.taken:
            real.go_on(steps, "short run")
        blind.go_on(steps, name)
        return [learning_checks.input_pays(name, real.train_losses[-1], blind.train_losses[-1])]

    return attempt


SHUFFLED = "its labels dealt at random"


def _dealt(labels: torch.Tensor, randomness: torch.Generator) -> torch.Tensor:
    return labels[torch.randperm(len(labels), generator=randomness, device=labels.device)]


def _black(images: torch.Tensor, randomness: torch.Generator) -> torch.Tensor:
    del randomness
    return torch.zeros_like(images)


def _noise(images: torch.Tensor, randomness: torch.Generator) -> torch.Tensor:
    return torch.randint(256, images.shape, generator=randomness, device=images.device, dtype=torch.uint8)


def patiently(attempt: Callable[[int], list[Check]], steps: int, doublings: int) -> list[Check]:
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
