"""How a gradient becomes a step: AdamW, SGD with Nesterov's momentum, or Muon for hidden matrices.

Parameters are grouped by what differs between them: whether they belong to the body, whether they decay, how
fast they learn, and whether Muon steps them (lib/fine_tuning.py says which).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from stages.lib.fine_tuning import BODY, Tuning, decaying, hidden_matrices, learning_scales

BETAS = (0.9, 0.99)
"""AdamW's: the second moment over 100 steps instead of 1,000, because a run here has about a thousand."""

EPSILON = 1e-8

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic that moves singular values to about 1 in five rounds: Jordan et al. (2024),
"Muon: An optimizer for hidden layers in neural networks". They end between 0.7 and 1.2, not at 1: enough."""

ROUNDS = 5


@dataclass(frozen=True)
class UpdateRule:
    """kind, the momentum of SGD and Muon (AdamW's first beta is 0.9), and Muon's rate for matrices.

    hold_norm has Muon bring each of its matrices back to its norm after every step.
    """

    kind: Literal["adamw", "sgd", "muon"] = "adamw"
    momentum: float = 0.9
    matrix_rate: float = 0.02
    hold_norm: bool = False


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """Map (m, n) to about U V^T of its singular value decomposition, by Newton-Schulz iteration.

    Computed in float32 on a CPU, which has it faster than bfloat16, and in bfloat16 on a GPU.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[0] > matrices.shape[1]
    x = matrices.T if tall else matrices
    x = x.to(torch.bfloat16 if x.is_cuda else torch.float32)
    x = x / (x.norm() + 1e-7)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    turned: torch.Tensor = x.T if tall else x
    return turned.to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, then the nearest orthogonal matrix, for groups with `matrix`; AdamW for all others.

    A kernel (out, in, h, w) is the matrix (out, in * h * w). The step of a matrix is scaled by the root of
    max(1, rows / columns), so that its size does not hang on its shape.

    With hold_norm a matrix keeps the norm that it had before its first step, and steps only turn it: behind a
    norm layer its size means nothing but how far the next step turns it (Jordan's airbench94_muon does so, at
    the root of its rows).
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float, momentum: float, *, hold_norm: bool = False
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": BETAS, "matrix": False})
        self.hold_norm = hold_norm

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            change = self._matrix_step if group["matrix"] else self._adam_step
            held = group["matrix"] and self.hold_norm
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if held and "norm" not in self.state[parameter]:
                    self.state[parameter]["norm"] = parameter.norm()
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(change(parameter, parameter.grad, group))
                if held:
                    _bring_back(parameter, self.state[parameter]["norm"])

    def _matrix_step(
        self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]
    ) -> torch.Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - group["momentum"])
        nesterov = gradient.lerp(buffer, group["momentum"]).flatten(1)
        rows, columns = nesterov.shape
        size: float = group["lr"] * max(1.0, rows / columns) ** 0.5
        return size * orthogonalise(nesterov).view_as(parameter)

    def _adam_step(
        self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]
    ) -> torch.Tensor:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        (one, two), step = group["betas"], float(state["step"])
        mean = state["exp_avg"].lerp_(gradient, 1 - one) / (1 - one**step)
        square = state["exp_avg_sq"].lerp_(gradient.square(), 1 - two) / (1 - two**step)
        rate: float = group["lr"]
        change: torch.Tensor = rate * mean / (square.sqrt() + EPSILON)
        return change


def _bring_back(parameter: torch.Tensor, norm: torch.Tensor) -> None:
    """Scale a matrix to its norm, in place; one that started at zero is left as it is."""
    now = parameter.norm()
    parameter.mul_(torch.where((norm > 0) & (now > 0), norm / now, torch.ones_like(norm)))


def new_optimizer(
    network: nn.Module, rule: UpdateRule, tuning: Tuning, rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Group the parameters and build the optimiser.

    Each group says `body`, and `scale`: what its rate is a multiple of the schedule's. SGD's decay is part of
    the gradient (L2); AdamW's and Muon's is decoupled from it.
    """
    scales = learning_scales(network, tuning)
    decays = decaying(network)
    matrices = hidden_matrices(network) if rule.kind == "muon" else frozenset()
    groups: dict[tuple[bool, bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        matrix = name in matrices
        scale = scales[name] * (rule.matrix_rate / rate if matrix else 1.0)
        groups.setdefault((name.startswith(BODY), name in decays, scale, matrix), []).append(parameter)
    described: list[dict[str, Any]] = [
        {"params": members, "weight_decay": weight_decay if held else 0.0, "body": body, "scale": scale}
        | ({"matrix": matrix} if rule.kind == "muon" else {})
        for (body, held, scale, matrix), members in groups.items()
    ]
    if rule.kind == "muon":
        return Muon(described, rate, rule.momentum, hold_norm=rule.hold_norm)
    if rule.kind == "sgd":
        nesterov = rule.momentum > 0
        return torch.optim.SGD(described, rate, rule.momentum, nesterov=nesterov, fused=True)
    return torch.optim.AdamW(described, rate, BETAS, fused=True)


def set_rates(optimizer: torch.optim.Optimizer, rate: float, body_rate: float, momentum: float) -> None:
    """Give every group its rate; momentum 0 leaves the groups' own."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"] * (body_rate if group["body"] else 1.0)
        if momentum and "momentum" in group:
            group["momentum"] = momentum
        if momentum and "betas" in group:
            group["betas"] = (momentum, group["betas"][1])


def penalty(optimizer: torch.optim.Optimizer) -> float:
    """Return the regularisation term: half the weight decay times the squares of what decays, summed.

    Its gradient is what weight decay adds; with decoupled decay it is the term that the decay minimises.
    """
    parts = [
        0.5 * group["weight_decay"] * parameter.detach().double().square().sum()
        for group in optimizer.param_groups
        for parameter in group["params"]
        if group["weight_decay"]
    ]
    return float(torch.stack(parts).sum()) if parts else 0.0
