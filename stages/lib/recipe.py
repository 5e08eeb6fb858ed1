"""How to train, as a value: phases, batches, rates, and what resists memory; params.yaml says the same."""

from dataclasses import dataclass, field

from stages.lib.augment import Augmentation
from stages.lib.compiling import Compile
from stages.lib.fine_tuning import Tuning
from stages.lib.optimizers import UpdateRule
from stages.lib.precision import Precision
from stages.lib.schedule import Scaling, Schedule


@dataclass(frozen=True)
class Phase:
    """Epochs with their own warm-up and decay; body_rate scales the body's learning rate, 0 freezes it."""

    name: str
    epochs: int
    body_rate: float


@dataclass(frozen=True)
class Recipe:
    """How to step, one schedule a phase; weight decay pulls matrices and kernels only.

    ema_decay 0 keeps the last weights, otherwise their running mean over about 1 / (1 - ema_decay) steps.
    rate_batch: the batch for which learning_rate was found, 0: this one. clip_norm 0 does not clip. parts: in
    how many pieces a batch is computed. patience: epochs without a better val loss after which the last phase
    ends and its best weights are kept; 0 trains to the end.
    """

    phases: tuple[Phase, ...]
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    ema_decay: float
    augmentation: Augmentation | None
    seed: int
    schedule: Schedule = field(default_factory=Schedule)
    rate_scaling: Scaling = "none"
    rate_batch: int = 0
    rule: UpdateRule = field(default_factory=UpdateRule)
    tuning: Tuning = field(default_factory=Tuning)
    clip_norm: float = 0.0
    parts: int = 1
    patience: int = 0
    precision: Precision = "float32"
    compiled: Compile = "eager"
    deterministic: bool = False

    @property
    def epochs(self) -> int:
        """All phases' epochs."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def body_rate(self) -> float:
        """The last phase's, in which everything learns; 1 where there is none."""
        return self.phases[-1].body_rate if self.phases else 1.0

    def phase_at(self, epoch: int) -> tuple[Phase, int]:
        """Return the phase that `epoch` is in, and the epochs before that phase."""
        before = 0
        for phase in self.phases:
            if epoch < before + phase.epochs:
                return phase, before
            before += phase.epochs
        raise IndexError(f"epoch {epoch} of {self.epochs}")
