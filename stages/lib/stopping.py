"""When to stop early, as a function of the curves so far: nothing to save, the same answer after a resume.

Prechelt, "Early stopping - but when?" (1998): here after `patience` epochs of the last phase without a better
val loss. Val is the whole val set, looked at once an epoch.
"""

from collections.abc import Mapping, Sequence

from stages.lib.recipe import Recipe
from stages.lib.schedule import is_better

Row = Mapping[str, int | float | str]


def _of_last_phase(history: Sequence[Row], recipe: Recipe) -> list[float]:
    before = recipe.epochs - recipe.phases[-1].epochs
    return [float(row["val_loss"]) for row in history[before:] if "val_loss" in row]


def epochs_since_best(losses: Sequence[float]) -> int:
    """Return how many epochs ago the best loss was, 0 for the last one."""
    best, since = float("inf"), -1
    for loss in losses:
        best, since = (loss, 0) if is_better(loss, best) else (best, since + 1)
    return max(since, 0)


def just_improved(history: Sequence[Row], recipe: Recipe) -> bool:
    """Say whether the last epoch is in the last phase and its val loss the best of it."""
    losses = _of_last_phase(history, recipe)
    return bool(losses) and epochs_since_best(losses) == 0


def is_over(history: Sequence[Row], recipe: Recipe) -> bool:
    """Say whether patience has run out."""
    return bool(recipe.patience) and epochs_since_best(_of_last_phase(history, recipe)) >= recipe.patience


def kept_row(history: Sequence[Row], recipe: Recipe) -> Row:
    """Return the row of the epoch whose weights are published: the last phase's best, or the last one."""
    since = epochs_since_best(_of_last_phase(history, recipe)) if recipe.patience else 0
    return history[-1 - since]
