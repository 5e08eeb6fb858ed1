"""What a student learns: its teachers' beliefs, their logits, their features, and the labels beside them."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from stages.lib.augment_mix import Mix
from stages.lib.hints import captured, hint_loss
from stages.lib.tasks import Held, classification_figures
from stages.lib.teachers import Look, Teacher

Soft = Literal["kl", "logits"]


@dataclass(frozen=True)
class Hint:
    """The student's layer whose features are to tell the teachers', and the weight of that loss."""

    layer: str
    weight: float


@dataclass(frozen=True)
class Distillation:
    """Teachers' beliefs as targets, with the hard label mixed in where there is one (-1: there is none).

    Loss: (1 - hard_weight) soft + hard_weight CE(label) + hint. The soft part is
    - kl: T² KL(teachers || student), both softened as in Hinton et al. (arXiv:1503.02531; T² keeps the
      gradient's size when the temperature changes).
    - logits: half the mean squared difference of logits (Ba and Caruana, arXiv:1312.6184), to which the first
      one tends as T grows, but for a shift of all logits alike.
    Teachers see the same augmented view as the student, after Beyer et al., A good teacher is patient and
    consistent (arXiv:2106.05237), mixed images too; only the given labels have to be mixed.
    """

    teacher: Teacher
    labels: torch.Tensor
    temperature: float
    hard_weight: float
    val: Held | None
    soft: Soft = "kl"
    hint: Hint | None = None

    def loss(
        self,
        network: nn.Module,
        images: torch.Tensor,
        index: torch.Tensor,
        randomness: torch.Generator,
        mix: Mix | None = None,
    ) -> torch.Tensor:
        """Return the mixed loss; a batch without any label has the soft part and the hint alone."""
        del randomness
        look = self.teacher.look(images)
        features: list[torch.Tensor] = []
        with captured(network, self.hint.layer if self.hint else None, features):
            logits = network(images)
        hard = self._hard_loss(logits, self.labels[index], mix)
        total = (1 - self.hard_weight) * self._soft_loss(logits, look) + self.hard_weight * hard
        if self.hint is None:
            return total
        (own,) = features
        size = (own.shape[2], own.shape[3])
        return total + self.hint.weight * hint_loss(network, own, look.hint(size))

    def _soft_loss(self, logits: torch.Tensor, look: Look) -> torch.Tensor:
        if self.soft == "logits":
            return 0.5 * functional.mse_loss(logits, look.mean_logits())
        log_probs = functional.log_softmax(logits / self.temperature, 1)
        soft = functional.kl_div(log_probs, look.probs(self.temperature), reduction="batchmean")
        return self.temperature**2 * soft

    def _hard_loss(self, logits: torch.Tensor, labels: torch.Tensor, mix: Mix | None) -> torch.Tensor:
        def per_label(given: torch.Tensor) -> torch.Tensor:
            return functional.cross_entropy(logits, given, ignore_index=-1, reduction="none")

        total = per_label(labels).sum() if mix is None else mix.loss(per_label, labels).sum()
        return total / max(len(labels), 1)

    def mass(self, index: torch.Tensor) -> torch.Tensor | float:
        """Return the number of samples."""
        return float(len(index))

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the student's cross-entropy and accuracy against the true labels."""
        return {} if self.val is None else classification_figures(self.val.logits(network), self.val.labels)
