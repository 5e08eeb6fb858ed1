"""The one training loop: order, augment, step, average, validate, save; the task says what is learned.

The data set is one uint8 tensor on the device. Order and augmentation come from counters (lib/counters.py),
the rate from the step (lib/schedule.py), and the state is one dataclass saved whole, so a run that is killed
at any moment and started again ends in the same bytes on a CPU.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from stages.lib.augment import Augmentation, augment
from stages.lib.augment_mix import Mix, mixed
from stages.lib.checkpoint import CheckpointStore
from stages.lib.counters import epoch_order, generator
from stages.lib.errors import AssayError
from stages.lib.normalise import Normalisation, normalise
from stages.lib.progress import say, track
from stages.lib.schedule import ema_decay, warmup_cosine
from stages.lib.tasks import Task

Row = dict[str, int | float | str]
Report = Callable[[Mapping[str, int | float | str]], None]

BODY = "body."
"""Parameters under this name are the body that pretraining made; all others are new (head, decoder)."""

BETAS = (0.9, 0.99)
"""AdamW's: the second moment over 100 steps instead of 1,000, because a run here has about a thousand."""


SHOWN_IDS = 64
"""Sample ids in an error message: a batch of the usual size."""


class DivergedError(AssayError):
    """The loss is not a number any more."""


@dataclass(frozen=True)
class Phase:
    """Epochs with their own warm-up and decay; body_rate scales the body's learning rate, 0 freezes it."""

    name: str
    epochs: int
    body_rate: float


@dataclass(frozen=True)
class Recipe:
    """How to step: AdamW with decoupled weight decay on matrices and kernels only, one rate cycle a phase.

    ema_decay 0 keeps the last weights, otherwise their running mean over about 1 / (1 - ema_decay) steps.
    """

    phases: tuple[Phase, ...]
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    ema_decay: float
    augmentation: Augmentation | None
    seed: int

    @property
    def epochs(self) -> int:
        """All phases' epochs."""
        return sum(phase.epochs for phase in self.phases)

    def phase_at(self, epoch: int) -> tuple[Phase, int]:
        """Return the phase that `epoch` is in, and the epochs before that phase."""
        before = 0
        for phase in self.phases:
            if epoch < before + phase.epochs:
                return phase, before
            before += phase.epochs
        raise IndexError(f"epoch {epoch} of {self.epochs}")


@dataclass(frozen=True)
class TrainingSet:
    """images (N, C, H, W) uint8 on the device; sampling weights (N,) on the CPU, None: each sample once.

    strength (N,) on the device: the factor of each sample's augmentation magnitudes, None: 1.
    """

    images: torch.Tensor
    sample_ids: tuple[str, ...]
    normalisation: Normalisation
    sampling: torch.Tensor | None = None
    strength: torch.Tensor | None = None


@dataclass
class LoopState:
    """All that changes while training. `averaged` is the running mean of `network`, and what is published."""

    network: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.AdamW
    epoch: int = 0
    step: int = 0
    history: list[Row] = field(default_factory=list)

    @classmethod
    def start(cls, network: nn.Module, recipe: Recipe) -> "LoopState":
        """Return the state before the first step."""
        averaged = copy.deepcopy(network).requires_grad_(False)
        return cls(network, averaged, _optimizer(network, recipe))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor by a name of its own."""
        named = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        named |= {f"averaged/{name}": value for name, value in self.averaged.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            moments = self.optimizer.state.get(parameter, {})
            named |= {f"optimizer/{name}/{key}": value for key, value in moments.items()}
        return named

    def facts(self) -> dict[str, Any]:
        """Return everything that is no tensor, as JSON values."""
        return {"epoch": self.epoch, "step": self.step, "history": self.history}

    def restore(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Become the state that `tensors` and `facts` describe."""
        self.network.load_state_dict(_under("network/", tensors))
        self.averaged.load_state_dict(_under("averaged/", tensors))
        for name, parameter in self.network.named_parameters():
            moments = _under(f"optimizer/{name}/", tensors)
            if moments:
                on_device = {
                    key: value if key == "step" else value.to(parameter) for key, value in moments.items()
                }
                self.optimizer.state[parameter] = on_device
        self.epoch, self.step, self.history = facts["epoch"], facts["step"], facts["history"]


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Group parameters by (body or not) and (decays or not); norms' scales and biases do not decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((name.startswith(BODY), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": members, "weight_decay": recipe.weight_decay if decays else 0.0, "body": body}
            for (body, decays), members in groups.items()
        ],
        lr=recipe.learning_rate,
        betas=BETAS,
    )


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
    step and the samples of the batch whose loss is not finite.
    """
    # Here, not where the device is chosen: it imports a second's worth of torch that inference goes without.
    torch.use_deterministic_algorithms(data.images.device.type == "cpu")
    if store is not None and (saved := store.load_newest()) is not None:
        state.restore(*saved)
        say(f"{label}: resuming after epoch {state.epoch} of {recipe.epochs}")
    tell = report or _ignore
    for row in state.history:
        tell(row)
    for epoch in track(range(state.epoch, recipe.epochs), label):
        row = _epoch(state, task, data, recipe, epoch)
        state.epoch += 1
        state.history.append(row)
        if store is not None:
            store.save(state.epoch, state.tensors(), state.facts())
        tell(row)
    return state


def _ignore(row: Mapping[str, int | float | str]) -> None:
    """Nobody listens."""


def _epoch(state: LoopState, task: Task, data: TrainingSet, recipe: Recipe, epoch: int) -> Row:
    phase, before = recipe.phase_at(epoch)
    batches = batches_of(data, recipe, epoch)
    _freeze(state.network, frozen=phase.body_rate == 0)
    state.network.train()
    losses, rate = [], 0.0
    for position, index in enumerate(batches):
        done = (epoch - before) * len(batches) + position
        rate = recipe.learning_rate * warmup_cosine(done, phase.epochs * len(batches), recipe.warmup_fraction)
        _set_rate(state.optimizer, rate, phase.body_rate)
        randomness = generator(data.images.device, "batch", recipe.seed, epoch, position)
        losses.append(_step(state, task, data, recipe, index.to(data.images.device), randomness))
        state.step += 1
    total = _mean_loss(torch.stack(losses), batches, data, state.step - len(batches))
    figures = task.validate(state.averaged)
    return {"epoch": epoch + 1, "phase": phase.name, "learning_rate": rate, "train_loss": total, **figures}


def batches_of(data: TrainingSet, recipe: Recipe, epoch: int) -> tuple[torch.Tensor, ...]:
    """Cut the epoch's order into batches of nearly equal size, none above batch_size, no sample left out."""
    n = len(data.images)
    return epoch_order(n, data.sampling, recipe.seed, epoch).tensor_split(-(-n // recipe.batch_size))


def prepare(
    data: TrainingSet, recipe: Recipe, index: torch.Tensor, randomness: torch.Generator
) -> torch.Tensor:
    """Return images (B, C, H, W) float32 as the network gets them: augmented, then normalised."""
    images = data.images[index].float() / 255
    if recipe.augmentation is not None:
        strength = None if data.strength is None else data.strength[index]
        images = augment(images, recipe.augmentation, randomness, strength)
    return normalise(images, data.normalisation)


def mix(images: torch.Tensor, recipe: Recipe, randomness: torch.Generator) -> tuple[torch.Tensor, Mix | None]:
    """Return a prepared batch mixed as the recipe says, and what was mixed; None where it says nothing.

    After normalisation, because mixing is linear in the pixels.
    """
    if recipe.augmentation is None:
        return images, None
    return mixed(images, recipe.augmentation.mixing, randomness)


def _freeze(network: nn.Module, *, frozen: bool) -> None:
    for name, parameter in network.named_parameters():
        if name.startswith(BODY):
            parameter.requires_grad_(not frozen)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float, body_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * (body_rate if group["body"] else 1.0)


def _step(
    state: LoopState,
    task: Task,
    data: TrainingSet,
    recipe: Recipe,
    index: torch.Tensor,
    randomness: torch.Generator,
) -> torch.Tensor:
    images, mixture = mix(prepare(data, recipe, index, randomness), recipe, randomness)
    loss = task.loss(state.network, images, index, randomness, mixture)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimizer.step()
    _average(state, recipe.ema_decay)
    return loss.detach()


def _average(state: LoopState, decay: float) -> None:
    keep = ema_decay(state.step, decay)
    with torch.no_grad():
        pairs = zip(state.averaged.state_dict().values(), state.network.state_dict().values(), strict=True)
        for mean, value in pairs:
            if value.is_floating_point() and keep > 0:
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)


def _mean_loss(
    losses: torch.Tensor, batches: tuple[torch.Tensor, ...], data: TrainingSet, first_step: int
) -> float:
    """Return the mean over samples; looked at once an epoch, so that a GPU need not wait for each step."""
    finite = torch.isfinite(losses).tolist()
    if not all(finite):
        at = finite.index(False)
        ids = ", ".join(data.sample_ids[position] for position in batches[at][:SHOWN_IDS].tolist())
        raise DivergedError(
            f"the loss became {float(losses[at])} at step {first_step + at}, in a batch of "
            f"{len(batches[at])} images: {ids}. Lower learning_rate, or look at these images"
        )
    sizes = losses.new_tensor([len(batch) for batch in batches])
    return float((losses * sizes).sum() / sizes.sum())
