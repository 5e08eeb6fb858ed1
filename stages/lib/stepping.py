"""One batch in several parts: gradients added up, and parts halved when the device has no room for them."""

from collections.abc import Callable

import torch
from torch import nn

from stages.lib.errors import MachineError
from stages.lib.parallel import Team

_CPU_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
"""What torch's CPU allocator says in a plain RuntimeError."""


NOTHING_FITS = (
    "not even one image at a time fits into memory: lower ingest.image_size or the network's widths, or take "
    "a larger device"
)


class NoRoomError(MachineError):
    """Not even one image at a time fits."""


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether a device, or the machine, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_MEMORY)


def backward_in_parts(
    loss_of: Callable[[torch.Tensor, int], torch.Tensor],
    mass_of: Callable[[torch.Tensor], torch.Tensor | float],
    size: int,
    parts: int,
    team: Team,
    scale: float = 1.0,
) -> torch.Tensor:
    """Add up gradients over this process's `parts` of a batch of `size`; return their share of its mean loss.

    `loss_of(positions, part)` is a part's mean loss; `mass_of(positions)` what that mean was divided by (how
    many samples, or the sum of their weights). Gradient and loss, summed over the team, are those of the
    whole batch at once, up to rounding, unless layers mix samples: batch norm takes its statistics from each
    part. The gradients alone are multiplied by `scale` (lib/precision.py).
    """
    if parts * team.size == 1:
        loss = loss_of(torch.arange(size, device=team.device), 0)
        _scaled(loss, scale).backward()  # type: ignore[no-untyped-call]
        return loss.detach()
    pieces = torch.arange(size, device=team.device).tensor_split(min(parts * team.size, size))
    masses = [mass_of(piece) for piece in pieces]
    whole = sum(masses)
    total = torch.zeros((), device=team.device)
    for part in range(len(pieces))[team.rank * parts : (team.rank + 1) * parts]:
        loss = loss_of(pieces[part], part) * (masses[part] / whole)
        _scaled(loss, scale).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def in_chunks_that_fit(
    look: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, largest: int
) -> torch.Tensor:
    """Return `look` of images (N, ...) cut into chunks of at most `largest`, halved where memory runs out.

    The chunks change no result but in rounding, and only on a device that had no room for the usual ones.
    """
    size = largest
    while True:
        try:
            return torch.cat([look(chunk) for chunk in torch.split(images, size)])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise NoRoomError(NOTHING_FITS) from error
        size //= 2


def _scaled(loss: torch.Tensor, scale: float) -> torch.Tensor:
    return loss if scale == 1 else loss * scale


def in_parts_that_fit(
    attempt: Callable[[int], torch.Tensor], network: nn.Module, size: int, parts: int, team: Team
) -> tuple[torch.Tensor, int]:
    """Call `attempt(parts)`; out of memory, drop its gradients and try twice as many parts, to single images.

    Where one process of the team has no room, all try again. Returns the loss and the number of parts that
    fitted. NoRoomError names what to do when nothing fits.
    """
    while True:
        error: BaseException | None = None
        loss = torch.zeros((), device=team.device)
        try:
            loss = attempt(parts)
        except (RuntimeError, MemoryError) as raised:
            if not is_out_of_memory(raised):
                raise
            error = raised
        if not team.any(error is not None):
            return loss, parts
        if parts * team.size >= size:
            raise NoRoomError(NOTHING_FITS) from error
        for parameter in network.parameters():
            parameter.grad = None
        parts *= 2
