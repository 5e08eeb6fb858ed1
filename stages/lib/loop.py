"""The one training loop: order, augment, step, average, validate, save; the task says what is learned.

The data set is one uint8 tensor on the device, or is brought batch by batch (lib/feeding.py). Order and
augmentation come from counters (lib/counters.py), the rate from how far the run is (lib/schedule.py), and
the state is one dataclass saved whole, so a run that is killed at any moment and started again ends in the
same bytes on a CPU. Several processes may share each batch (lib/parallel.py).
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import nn

from stages.lib import stopping
from stages.lib.augment import alternating, augment
from stages.lib.augment_mix import Mix, mixed
from stages.lib.checkpoint import CheckpointStore
from stages.lib.compiling import compile_network
from stages.lib.counters import epoch_order, generator, seed_layers
from stages.lib.device import ready_to_learn, told_of_missing_algorithms
from stages.lib.divergence import mean_loss, require_numbers
from stages.lib.errors import InputError
from stages.lib.feeding import HostImages
from stages.lib.fine_tuning import set_trainable, train_mode
from stages.lib.loop_state import LoopState, Row
from stages.lib.normalise import Normalisation, normalise
from stages.lib.optimizers import penalty
from stages.lib.parallel import Team, share_step, team_on
from stages.lib.precision import arithmetic
from stages.lib.progress import say, track
from stages.lib.rates import batch_at, set_rates_at
from stages.lib.recipe import Recipe
from stages.lib.schedule import ema_decay
from stages.lib.stepping import backward_in_parts, in_parts_that_fit
from stages.lib.tasks import Task
from stages.lib.termination import Request, TerminatedError, termination_request

Report = Callable[[Mapping[str, int | float | str]], None]


@dataclass(frozen=True)
class TrainingSet:
    """images (N, C, H, W) uint8 on the device; sampling weights (N,) on the CPU, None: each sample once.

    strength (N,) on the device: the factor of each sample's augmentation magnitudes, None: 1. host: images
    that do not fit the device; `images` is then an empty tensor on it.
    """

    images: torch.Tensor
    sample_ids: tuple[str, ...]
    normalisation: Normalisation
    sampling: torch.Tensor | None = None
    strength: torch.Tensor | None = None
    host: HostImages | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.sample_ids)

    def take(self, index: torch.Tensor) -> torch.Tensor:
        """Return pixels (B, C, H, W) uint8 on the device."""
        return self.images[index.to(self.images.device)] if self.host is None else self.host.gather(index)

    def batches(self, order: Sequence[torch.Tensor]) -> Generator[torch.Tensor]:
        """Yield the pixels of each batch of `order`."""
        return (self.take(index) for index in order) if self.host is None else self.host.batches(order)


@dataclass(frozen=True)
class Batch:
    """One step's samples: index (B,) and pixels (B, C, H, W) uint8 on the device, and mirror_of the epoch.

    `place` is the epoch and the step in it.
    """

    index: torch.Tensor
    pixels: torch.Tensor
    place: tuple[int, int]
    mirror: torch.Tensor | None


def fit(
    state: LoopState,
    task: Task,
    data: TrainingSet,
    recipe: Recipe,
    *,
    store: CheckpointStore | None = None,
    report: Report | None = None,
    label: str = "training",
) -> LoopState:
    """Train from `state`, or from the newest checkpoint in `store`, to the recipe's end; `state` is changed.

    `report` gets every epoch's row, also of the epochs a resumed run does not repeat. DivergedError names the
    step and the samples of the batch whose loss is not finite, or the weights that are not; TerminatedError
    follows a SIGTERM, once the state is saved.
    """
    team = team_on(data.images.device)
    for network in (state.network, state.averaged):
        ready_to_learn(network, data.images, deterministic=recipe.deterministic)
    compile_network(state.network, data.images.device, recipe.compiled)
    if store is not None and (saved := store.load_newest()) is not None:
        state.restore(*saved)
        say(f"{label}: resuming after epoch {state.epoch} of {recipe.epochs}")
    team.wait()  # until all have read what the first will soon replace
    tell = report or _ignore
    for row in state.history:
        tell(row)
    with termination_request() as request, told_of_missing_algorithms():
        for epoch in track(range(state.epoch, recipe.epochs), label):
            if stopping.is_over(state.history, recipe):
                say(f"{label}: no better val loss for {recipe.patience} epochs, ended after {state.epoch}")
                break
            row = _epoch(state, task, data, recipe, epoch, store, request, team)
            state.epoch += 1
            state.history.append(row)
            if recipe.patience and stopping.just_improved(state.history, recipe):
                state.best = {name: value.clone() for name, value in state.averaged.state_dict().items()}
            if store is not None:
                store.save(state.epoch, state.tensors(), state.facts())
            tell(row)
    if state.best:
        state.averaged.load_state_dict(state.best)
    return state


def _ignore(row: Mapping[str, int | float | str]) -> None:
    """Nobody listens."""


def _epoch(
    state: LoopState,
    task: Task,
    data: TrainingSet,
    recipe: Recipe,
    epoch: int,
    store: CheckpointStore | None,
    request: Request,
    team: Team,
) -> Row:
    phase, _ = recipe.phase_at(epoch)
    batches = batches_of(data, recipe, epoch)
    set_trainable(state.network, recipe.tuning, body_frozen=phase.body_rate == 0)
    train_mode(state.network, recipe.tuning)
    rate = 0.0
    begun = len(state.losses)
    mirror = mirror_of(data, recipe, epoch)
    with closing(data.batches(batches[begun:])) as feed:
        for position, pixels in enumerate(feed, begun):
            if team.any(request.came):
                _leave(state, store)
            share = (position + 0.5) / len(batches)
            rate = set_rates_at(state.optimizer, state.history, recipe, epoch, share)
            batch = Batch(batches[position].to(data.images.device), pixels, (epoch, position), mirror)
            state.losses.append(_step(state, task, data, recipe, batch, team))
            state.step += 1
    total = mean_loss(state, batches, data.sample_ids, store)
    state.losses = []
    if not recipe.ema_decay:
        _move_mean(state, 1.0)
    require_numbers(state, store)
    figures = team.firsts(task.validate(state.averaged))
    _require_val_loss(figures, recipe)
    terms = {"train_loss": total, "regularisation_loss": penalty(state.optimizer)}
    grown = {"batch_size": batch_at(recipe, epoch)} if recipe.schedule.grow_batch else {}
    return {"epoch": epoch + 1, "phase": phase.name, "learning_rate": rate, **grown, **terms, **figures}


def _require_val_loss(figures: Mapping[str, float], recipe: Recipe) -> None:
    if "val_loss" in figures:
        return
    if recipe.patience:
        raise InputError("patience waits for a better val loss, but the val split is empty: set it to 0")
    if recipe.schedule.kind == "plateau":
        raise InputError(
            "schedule.kind plateau lowers the rate when the val loss no longer falls, but the val split is "
            "empty: take another kind, such as cosine"
        )


def _leave(state: LoopState, store: CheckpointStore | None) -> None:
    if store is None:
        raise TerminatedError("asked to end (SIGTERM); nothing was to be saved")
    require_numbers(state, store)
    store.save(state.epoch, state.tensors(), state.facts(), steps=len(state.losses))
    raise TerminatedError(
        f"asked to end (SIGTERM): saved after epoch {state.epoch} and {len(state.losses)} steps of the next; "
        "`make repro` goes on from here"
    )


def batches_of(data: TrainingSet, recipe: Recipe, epoch: int) -> tuple[torch.Tensor, ...]:
    """Cut the epoch's order into batches of nearly equal size, none too large, no sample left out."""
    n = len(data)
    return epoch_order(n, data.sampling, recipe.seed, epoch).tensor_split(-(-n // batch_at(recipe, epoch)))


def mirror_of(data: TrainingSet, recipe: Recipe, epoch: int) -> torch.Tensor | None:
    """Return which samples are mirrored in the epoch (N,), where the recipe has them alternate."""
    if recipe.augmentation is None or recipe.augmentation.flip != "alternate":
        return None
    return alternating(len(data), recipe.seed, epoch).to(data.images.device)


def prepare(
    data: TrainingSet,
    recipe: Recipe,
    index: torch.Tensor,
    randomness: torch.Generator,
    pixels: torch.Tensor | None = None,
    mirror: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return images (B, C, H, W) float32 as the network gets them: augmented, then normalised.

    pixels (B, C, H, W) uint8 are those at `index`, where they are at hand already; mirror (N,) says which of
    all samples are mirrored, where that is not for each batch to draw.
    """
    images = (data.take(index) if pixels is None else pixels).float() / 255
    if recipe.augmentation is not None:
        strength = None if data.strength is None else data.strength[index]
        turns = None if mirror is None else mirror[index]
        images = augment(images, recipe.augmentation, randomness, strength, turns)
    return normalise(images, data.normalisation)


def mix(images: torch.Tensor, recipe: Recipe, randomness: torch.Generator) -> tuple[torch.Tensor, Mix | None]:
    """Return a prepared batch mixed as the recipe says, and what was mixed; None where it says nothing.

    After normalisation, because mixing is linear in the pixels.
    """
    if recipe.augmentation is None:
        return images, None
    return mixed(images, recipe.augmentation.mixing, randomness)


def _step(
    state: LoopState,
    task: Task,
    data: TrainingSet,
    recipe: Recipe,
    batch: Batch,
    team: Team,
) -> torch.Tensor:
    """Take one step on a batch, in as many parts as fit; return the batch's mean loss.

    Augmentation is drawn for the batch; mixing, and what the task draws, within each part: a partner must be
    at hand, and whoever computes a part must draw the same for it.
    """
    device, index, place = data.images.device, batch.index, batch.place
    state.optimizer.zero_grad(set_to_none=True)

    def attempt(parts: int) -> torch.Tensor:
        randomness = generator(device, "batch", recipe.seed, *place)
        images = prepare(data, recipe, index, randomness, batch.pixels, batch.mirror)

        def loss_of(piece: torch.Tensor, part: int) -> torch.Tensor:
            seed_layers("layers", recipe.seed, *place, part)
            some = images if len(piece) == len(index) else images[piece]
            own = randomness
            if parts * team.size > 1:
                own = generator(device, "part", recipe.seed, *place, part)
            some, mixture = mix(some, recipe, own)
            with arithmetic(device, recipe.precision):
                return task.loss(state.network, some, index[piece], own, mixture)

        def mass_of(piece: torch.Tensor) -> torch.Tensor | float:
            return task.mass(index[piece])

        return backward_in_parts(loss_of, mass_of, len(index), parts, team, state.scale.value)

    loss, state.parts = in_parts_that_fit(attempt, state.network, len(index), state.parts, team)
    loss = share_step(team, state.network, loss)
    if not state.scale.is_sound(state.network.parameters(), recipe.precision):
        return loss
    if recipe.clip_norm:
        nn.utils.clip_grad_norm_(state.network.parameters(), recipe.clip_norm)
    state.optimizer.step()
    _average(state, recipe.ema_decay)
    return loss


def _average(state: LoopState, decay: float) -> None:
    """Move the running mean one step; without decay it is the weights themselves, copied once an epoch."""
    keep = ema_decay(state.step, decay)
    if keep > 0:
        _move_mean(state, 1 - keep)


@torch.no_grad()
def _move_mean(state: LoopState, share: float) -> None:
    """Let `share` of the mean be the newest weights; counts (whole numbers) are always the newest."""
    pairs = zip(state.averaged.state_dict().values(), state.network.state_dict().values(), strict=True)
    for mean, value in pairs:
        if value.is_floating_point() and share < 1:
            mean.lerp_(value, share)
        else:
            mean.copy_(value)
