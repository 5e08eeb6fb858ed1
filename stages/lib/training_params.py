"""Keys that several training stages have in common, with their ranges; the values stand in params.yaml."""

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from stages.lib.config import Section

if TYPE_CHECKING:
    from stages.lib.augment import Augmentation
    from stages.lib.loop import Phase, Recipe


def _different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds):
        raise ValueError("every seed once: two networks of one seed are the same network")
    return seeds


Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_different)]
Widths = Annotated[
    tuple[Annotated[int, Field(ge=8, le=2048, multiple_of=8)], ...], Field(min_length=1, max_length=8)
]
Epochs = Annotated[int, Field(ge=1, le=100_000)]


class SteppingParams(Section):
    """How the optimiser steps."""

    batch_size: int = Field(ge=1, le=65_536)
    learning_rate: float = Field(gt=0, le=1)
    weight_decay: float = Field(ge=0, le=10)
    warmup_fraction: float = Field(gt=0, lt=1)
    ema_decay: float = Field(ge=0, lt=1)

    def recipe(self, phases: "tuple[Phase, ...]", augmentation: "Augmentation | None", seed: int) -> "Recipe":
        """Return these keys with the stage's phases as the value that lib/loop.py takes."""
        from stages.lib.loop import Recipe

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
