"""One batch in several parts: gradients added up, and parts halved when the device has no room for them."""

from collections.abc import Callable

import torch
from torch import nn

from stages.lib.errors import MachineError

_CPU_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory")
"""What torch's CPU allocator says in a plain RuntimeError."""


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
    device: torch.device,
) -> torch.Tensor:
    """Add up gradients over `parts` of a batch of `size`, and return the batch's mean loss (a scalar).

    `loss_of(positions, part)` is a part's mean loss; `mass_of(positions)` what that mean was divided by (how
    many samples, or the sum of their weights). Gradient and loss are those of the whole batch at once, up to
    rounding, unless layers mix samples: batch norm then takes its statistics from each part.
    """
    if parts == 1:
        loss = loss_of(torch.arange(size, device=device), 0)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()
    pieces = torch.arange(size, device=device).tensor_split(min(parts, size))
    masses = [mass_of(piece) for piece in pieces]
    whole = sum(masses)
    total = torch.zeros((), device=device)
    for part, (piece, mass) in enumerate(zip(pieces, masses, strict=True)):
        loss = loss_of(piece, part) * (mass / whole)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def in_parts_that_fit(
    attempt: Callable[[int], torch.Tensor], network: nn.Module, size: int, parts: int
) -> tuple[torch.Tensor, int]:
    """Call `attempt(parts)`; out of memory, drop its gradients and try twice as many parts, to single images.

    Returns the loss and the number of parts that fitted. NoRoomError names what to do when nothing fits.
    """
    while True:
        try:
            return attempt(parts), parts
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if parts >= size:
                raise NoRoomError(
                    "not even one image at a time fits into memory: lower ingest.image_size or the network's "
                    "widths, or take a larger device"
                ) from error
        for parameter in network.parameters():
            parameter.grad = None
        parts *= 2
