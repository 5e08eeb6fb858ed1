"""Keys that several training stages have in common, with their ranges; the values stand in params.yaml."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from stages.lib.config import Section, matching

if TYPE_CHECKING:
    from stages.lib.augment import Augmentation
    from stages.lib.recipe import Phase, Recipe


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds):
        raise ValueError("every seed once: two networks of one seed are the same network")
    return seeds


Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_different)]
Widths = Annotated[
    tuple[Annotated[int, Field(ge=8, le=2048, multiple_of=8)], ...], Field(min_length=1, max_length=8)
]
Sha256 = Annotated[str, matching(r"([0-9a-f]{64})?", 'a SHA-256, 64 digits of 0-9 and a-f, or ""')]
Init = Literal["pretrain", "random", "timm", "file"]
Epochs = Annotated[int, Field(ge=1, le=100_000)]


class SteppingParams(Section):
    """How the optimiser steps."""

    batch_size: int = Field(ge=1, le=65_536)
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0, le=10)
    warmup_fraction: float = Field(ge=0, lt=1)
    ema_decay: float = Field(ge=0, lt=1)

    def recipe(self, phases: "tuple[Phase, ...]", augmentation: "Augmentation | None", seed: int) -> "Recipe":
        """Return these keys with the stage's phases as the value that lib/loop.py takes."""
        from stages.lib.recipe import Recipe

        return Recipe(
            phases=phases,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_fraction=self.warmup_fraction,
            ema_decay=self.ema_decay,
            augmentation=augmentation,
            seed=seed,
        )


class OnePhaseParams(SteppingParams):
    """What the stages have in common that train one network from the start to the end in one phase."""

    seed: Seed
    epochs: Epochs

    def one_phase(self, name: str, augmentation: "Augmentation | None") -> "Recipe":
        """Return a recipe of one phase over the whole network."""
        from stages.lib.recipe import Phase

        return self.recipe((Phase(name, self.epochs, body_rate=1.0),), augmentation, self.seed)


class OptimizerParams(Section):
    """Which optimiser, and what the learning rate alone does not say."""

    kind: Literal["adamw", "sgd", "muon"]
    momentum: float = Field(ge=0, lt=1)
    matrix_rate: float = Field(gt=0, le=1)
    hold_norm: bool

    @model_validator(mode="after")
    def _holds_what_muon_steps(self) -> "OptimizerParams":
        if self.hold_norm and self.kind != "muon":
            raise ValueError(f"hold_norm is about muon's matrices; kind is {self.kind}: set it to false")
        return self


class ScheduleParams(Section):
    """How the learning rate goes over a phase, once warmed up."""

    kind: Literal[
        "constant", "step", "multistep", "exponential", "inverse", "polynomial", "sigmoid", "cosine",
        "cyclical", "one_cycle", "plateau",
    ]  # fmt: skip
    final: float = Field(ge=0, lt=1)
    drops: int = Field(ge=1, le=100)
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(min_length=1, max_length=100)
    gamma: float = Field(gt=0, lt=1)
    power: float = Field(gt=0, le=10)
    steepness: float = Field(gt=0, le=100)
    cycles: int = Field(ge=1, le=1000)
    patience: int = Field(ge=0, le=10_000)
    grow_batch: bool
    largest_batch: int = Field(ge=1, le=1_048_576)
    momentum_low: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _goes_together(self) -> "ScheduleParams":
        if self.kind in ("exponential", "inverse") and self.final == 0:
            raise ValueError(f"kind {self.kind} never reaches 0: write a final above it, such as 0.01")
        if self.grow_batch and self.kind in ("constant", "one_cycle", "cyclical", "plateau"):
            raise ValueError(f"grow_batch needs a curve that only falls; kind {self.kind} does not")
        return self


class FineTuneParams(Section):
    """Which layers learn, and how fast."""

    layer_decay: float = Field(gt=0, le=1)
    frozen_layers: int = Field(ge=0, le=10_000)
    hold_statistics: bool


NOTHING_KEPT: dict[str, Any] = {"layer_decay": 1.0, "frozen_layers": 0, "hold_statistics": False}
"""The values of fine_tune by which all layers learn alike, as random ones should."""


class EngineParams(SteppingParams):
    """Everything that the loop can do beside plain steps."""

    rate_scaling: Literal["none", "linear", "sqrt"]
    rate_batch: int = Field(ge=1, le=65_536)
    clip_norm: float = Field(ge=0, le=1.0e6)
    micro_batches: int = Field(ge=1, le=65_536)
    patience: int = Field(ge=0, le=100_000)
    precision: Literal["float32", "bfloat16", "float16"]
    compile: Literal["eager", "default", "reduce-overhead", "max-autotune"]
    deterministic: bool
    optimizer: OptimizerParams
    schedule: ScheduleParams
    fine_tune: FineTuneParams

    @model_validator(mode="after")
    def _momentum_falls(self) -> "EngineParams":
        if self.schedule.kind == "one_cycle" and self.schedule.momentum_low > self.optimizer.momentum:
            raise ValueError(
                f"schedule.momentum_low {self.schedule.momentum_low} is above optimizer.momentum "
                f"{self.optimizer.momentum}: one_cycle goes down to it while the rate is high"
            )
        return self

    @model_validator(mode="after")
    def _batches_can_grow(self) -> "EngineParams":
        how = self.schedule
        if how.grow_batch and how.largest_batch <= self.batch_size:
            raise ValueError(
                "schedule.grow_batch has no room: schedule.largest_batch "
                f"{how.largest_batch} must be more than batch_size {self.batch_size}"
            )
        if self.compile != "eager" and how.grow_batch:
            raise ValueError(
                "compile makes new kernels for each size of batch: set schedule.grow_batch false"
            )
        return self

    def recipe(self, phases: "tuple[Phase, ...]", augmentation: "Augmentation | None", seed: int) -> "Recipe":
        """Return these keys with the stage's phases as the value that lib/loop.py takes."""
        from stages.lib.fine_tuning import Tuning
        from stages.lib.optimizers import UpdateRule
        from stages.lib.schedule import Schedule

        return replace(
            super().recipe(phases, augmentation, seed),
            rate_scaling=self.rate_scaling,
            rate_batch=self.rate_batch,
            clip_norm=self.clip_norm,
            parts=self.micro_batches,
            patience=self.patience,
            precision=self.precision,
            compiled=self.compile,
            deterministic=self.deterministic,
            rule=UpdateRule(**self.optimizer.model_dump()),
            schedule=Schedule(**self.schedule.model_dump()),
            tuning=Tuning(**self.fine_tune.model_dump()),
        )


class NetworkParams(Section):
    """Which network."""

    network: Annotated[
        str,
        matching(
            r"residual|whitened|timm:[A-Za-z0-9_.]+",
            "residual, whitened, or timm: and the name of a timm net, such as timm:resnet18",
            "residual",
            "whitened",
        ),
    ]
    widths: Widths


class StartParams(EngineParams, NetworkParams):
    """Where the body starts, and how that goes together with the network and with what learns."""

    init: Init
    init_file: str
    init_sha256: Sha256
    body_rate: float = Field(ge=0, le=10)

    @model_validator(mode="after")
    def _starts_somewhere(self) -> "StartParams":
        if self.init == "file" and not (self.init_file and self.init_sha256):
            raise ValueError("init: file needs init_file and init_sha256 (`sha256sum` prints it)")
        if self.init == "random" and self.asks_for_knowledge:
            raise ValueError(
                "init: random leaves nothing worth keeping: set body_rate 1 (not 0), and of fine_tune "
                "frozen_layers 0, layer_decay 1.0 and hold_statistics false"
            )
        if self.init == "pretrain" and self.network != "residual":
            raise ValueError(
                f"init: pretrain needs network: residual, which that stage trains, not {self.network}; "
                "take init: random or file, or timm for a timm net"
            )
        if self.init == "timm" and not self.network.startswith("timm:"):
            raise ValueError(f"init: timm needs a network of timm (timm:…), not {self.network}")
        return self

    @property
    def asks_for_knowledge(self) -> bool:
        """Whether some of the body is kept more than the rest: only what knows something is worth that."""
        return self.body_rate == 0 or self.fine_tune != FineTuneParams(**NOTHING_KEPT)
