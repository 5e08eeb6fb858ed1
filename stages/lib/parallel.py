"""Several processes train one network, each a share of every batch.

`ASSAY_PROCESSES=N dvc repro` starts them by torchrun on one machine.
A step adds the processes' gradients up and averages batch norm's statistics, and is then the same in each:
they hold the same weights without ever sending them. What one process decides by what happened to it (no
memory left, asked to end), all decide. The first process alone writes files; all read the same checkpoints,
so a run may end on another number of processes than it began on. Each augments the whole batch and takes its
share: dearer than drawing the share alone, and the views are those of one process.
"""

import atexit
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn

SILENCE = timedelta(minutes=30)
"""How long the others are waited for: longer than a checkpoint or the val set takes, shorter than a night."""


CPU = torch.device("cpu")


@dataclass(frozen=True)
class Team:
    """This process's number and how many there are; alone, nothing is sent."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    def add_up(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace each tensor by its sum over the processes, all in one message."""
        found = list(tensors)
        if self.size == 1 or not found:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in found])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in found])
        for tensor, part in zip(found, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def any(self, here: bool) -> bool:
        """Say whether it is so in any of the processes."""
        if self.size == 1:
            return here
        flag = torch.tensor(float(here), device=self.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag > 0)

    def firsts(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Return the first process's figures, so that all go on from the same ones."""
        if self.size == 1 or not figures:
            return dict(figures)
        values = torch.tensor(list(figures.values()), dtype=torch.float64, device=self.device)
        distributed.broadcast(values, 0)
        return dict(zip(figures, values.tolist(), strict=True))

    def wait(self) -> None:
        """Wait until all are here."""
        if self.size > 1:
            self.any(False)


def team_on(device: torch.device) -> Team:
    """Join the processes that torchrun started; without torchrun, be alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Team(device=device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=SILENCE)
        atexit.register(distributed.destroy_process_group)
    return Team(distributed.get_rank(), size, device)


def share_step(team: Team, network: nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """Add up the processes' gradients and losses, and give all the mean of their running statistics.

    A process that had no share of the batch adds zeros. Batch norm takes its statistics of each share: shared
    at every step, they are the same in all processes whenever one is asked to save.
    """
    if team.size == 1:
        return loss
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learning:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in learning if parameter.grad is not None]
    total, statistics = loss.clone(), running_statistics(network)
    team.add_up([total, *gradients, *statistics])
    for statistic in statistics:
        statistic.div_(team.size)
    return total


def running_statistics(network: nn.Module) -> list[torch.Tensor]:
    """Return what layers in training mode keep of the batches they saw; held statistics are not among it."""
    return [
        buffer
        for module in network.modules()
        if module.training
        for name, buffer in module.named_buffers(recurse=False)
        if name.startswith("running_")
    ]
