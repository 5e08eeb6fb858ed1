"""When training has come to nothing: losses and weights that are no numbers, looked at once an epoch.

A device need not wait for each step then; and no checkpoint is written before they were looked at, so that
the newest one is good.
"""

from collections.abc import Mapping, Sequence

import torch

from stages.lib.checkpoint import CheckpointStore
from stages.lib.errors import AssayError
from stages.lib.loop_state import LoopState

SHOWN_IDS = 64
"""Sample ids in an error message: a batch of the usual size."""


class DivergedError(AssayError):
    """The loss or the weights are not numbers any more."""


def mean_loss(
    state: LoopState,
    batches: Sequence[torch.Tensor],
    sample_ids: Sequence[str],
    store: CheckpointStore | None,
) -> float:
    """Return the mean over the epoch's samples; DivergedError names the first batch whose loss is none."""
    losses = torch.stack(state.losses)
    finite = torch.isfinite(losses).tolist()
    if not all(finite):
        at = finite.index(False)
        ids = ", ".join(sample_ids[position] for position in batches[at][:SHOWN_IDS].tolist())
        raise DivergedError(
            f"the loss became {float(losses[at])} at step {state.step - len(losses) + at}, in a batch of "
            f"{len(batches[at])} images: {ids}. Lower learning_rate, or look at these images. "
            + _last_good(store)
        )
    sizes = losses.new_tensor([len(batch) for batch in batches])
    return float((losses * sizes).sum() / sizes.sum())


def require_numbers(state: LoopState, store: CheckpointStore | None) -> None:
    """Raise DivergedError where a weight is no number, as its gradient may be though the loss is one."""
    named = dict(state.network.state_dict(prefix="network/"))
    named |= state.averaged.state_dict(prefix="averaged/")
    name = first_without_number(named)
    if name is not None:
        raise DivergedError(
            f"{name} holds what is no number after step {state.step - 1}, in epoch {state.epoch + 1}: a "
            "gradient was none, or too large. Lower learning_rate, set precision: float32, or look in the "
            f"network and the loss for a root or a quotient of 0. {_last_good(store)}"
        )


def first_without_number(named: Mapping[str, torch.Tensor]) -> str | None:
    """Return the name of the first tensor with an infinite value or NaN; the device is waited for once."""
    found = {name: value for name, value in named.items() if value.is_floating_point()}
    finite = torch.stack([torch.isfinite(value).all() for value in found.values()]).tolist()
    return next((name for name, sound in zip(found, finite, strict=True) if not sound), None)


def _last_good(store: CheckpointStore | None) -> str:
    good = store.newest() if store is not None else None
    return f"The last good checkpoint is {good if good is not None else 'none: nothing was saved before'}"
