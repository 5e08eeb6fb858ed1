"""All that changes while training, in one value that is saved whole and restored whole."""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from stages.lib.optimizers import new_optimizer
from stages.lib.precision import LossScale
from stages.lib.recipe import Recipe

Row = dict[str, int | float | str]


@dataclass
class LoopState:
    """`averaged` is the running mean of `network`, and what is published.

    `losses` are those of the steps that the current epoch has taken; `parts` in how many pieces a batch fits
    the device; `best` the averaged weights at the best val loss of the last phase, where a run may end early.
    """

    network: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer
    epoch: int = 0
    step: int = 0
    parts: int = 1
    history: list[Row] = field(default_factory=list)
    losses: list[torch.Tensor] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    scale: LossScale = field(default_factory=LossScale)

    @classmethod
    def start(cls, network: nn.Module, recipe: Recipe) -> "LoopState":
        """Return the state before the first step."""
        averaged = copy.deepcopy(network).requires_grad_(False)
        optimizer = new_optimizer(
            network, recipe.rule, recipe.tuning, recipe.learning_rate, recipe.weight_decay
        )
        scale = LossScale.start(recipe.precision)
        return cls(network, averaged, optimizer, parts=recipe.parts, scale=scale)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor by a name of its own."""
        named = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        named |= {f"averaged/{name}": value for name, value in self.averaged.state_dict().items()}
        named |= {f"best/{name}": value for name, value in self.best.items()}
        for name, parameter in self.network.named_parameters():
            moments = self.optimizer.state.get(parameter, {})
            named |= {
                f"optimizer/{name}/{key}": value
                for key, value in moments.items()
                if isinstance(value, torch.Tensor)
            }
        return named | ({"losses": torch.stack(self.losses)} if self.losses else {})

    def facts(self) -> dict[str, Any]:
        """Return everything that is no tensor, as JSON values."""
        counts = {"epoch": self.epoch, "step": self.step, "parts": self.parts}
        return counts | {"history": self.history, "scale": asdict(self.scale)}

    def restore(self, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
        """Become the state that `tensors` and `facts` describe."""
        self.network.load_state_dict(_under("network/", tensors))
        self.averaged.load_state_dict(_under("averaged/", tensors))
        device = next(self.network.parameters()).device
        self.best = {name: value.to(device) for name, value in _under("best/", tensors).items()}
        for name, parameter in self.network.named_parameters():
            moments = _under(f"optimizer/{name}/", tensors)
            if moments:
                self.optimizer.state[parameter] = {
                    key: value
                    if key == "step" and not self._counts_on_device()
                    else _laid_out(value, parameter)
                    for key, value in moments.items()
                }
        self.losses = list(tensors["losses"].to(device)) if "losses" in tensors else []
        self.epoch, self.step, self.parts = facts["epoch"], facts["step"], facts["parts"]
        self.history, self.scale = facts["history"], LossScale(**facts["scale"])

    def _counts_on_device(self) -> bool:
        """A fused optimiser of torch counts its steps where the parameters are, all others on the CPU."""
        return bool(self.optimizer.defaults.get("fused"))


def _laid_out(value: torch.Tensor, parameter: nn.Parameter) -> torch.Tensor:
    """Return the values in the parameter's order in memory, by which a fused optimiser goes."""
    if value.shape != parameter.shape:
        return value.to(parameter)
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
