"""Schedules as pure functions: no object to save, nothing to get out of step on resume.

A curve maps t, the share of the run that is done (0 … 1), to the share of the peak rate that is used. Two
kinds look back instead: `plateaus` counts from the val losses so far, and the growth of batches from t too.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "constant",
    "step",
    "multistep",
    "exponential",
    "inverse",
    "polynomial",
    "sigmoid",
    "cosine",
    "cyclical",
    "one_cycle",
    "plateau",
]
Scaling = Literal["none", "linear", "sqrt"]

ONE_CYCLE_START = 1 / 25
"""Smith and Topin (arXiv:1708.07120) start an order under the peak; 25 is fast.ai's and torch's."""

LEAST_IMPROVEMENT = 1e-4
"""Share by which a val loss must beat the best one to count; torch's ReduceLROnPlateau has the same."""


@dataclass(frozen=True)
class Schedule:
    """Which curve, and its numbers; each curve reads only those that its function names.

    grow_batch: enlarge the batch where the curve would lower the rate, up to largest_batch.
    momentum_low: with one_cycle, the momentum at the peak of the rate (0: momentum stays).
    """

    kind: Kind = "cosine"
    final: float = 0.0
    drops: int = 2
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    power: float = 1.0
    steepness: float = 10.0
    cycles: int = 1
    patience: int = 5
    grow_batch: bool = False
    largest_batch: int = 1
    momentum_low: float = 0.0


def step(t: float, drops: int, gamma: float) -> float:
    """Multiply by gamma after each of drops + 1 equal parts: torch's StepLR."""
    return float(gamma ** min(math.floor(t * (drops + 1)), drops))


def multistep(t: float, milestones: Sequence[float], gamma: float) -> float:
    """Multiply by gamma at each milestone (He et al., arXiv:1512.03385): torch's MultiStepLR."""
    return float(gamma ** bisect_right(sorted(milestones), t))


def exponential(t: float, final: float) -> float:
    """Fall by the same share each step, to `final` (> 0): torch's ExponentialLR."""
    return float(final**t)


def inverse(t: float, final: float) -> float:
    """Fall as 1 / (1 + a t), to `final` (> 0): Robbins and Monro's rate (1951), Keras's InverseTimeDecay."""
    return 1 / (1 + (1 / final - 1) * t)


def polynomial(t: float, power: float, final: float) -> float:
    """Fall as (1 - t)^power to `final`; power 1 is a straight line: torch's PolynomialLR."""
    return float(final + (1 - final) * (1 - t) ** power)


def sigmoid(t: float, steepness: float, final: float) -> float:
    """Stay high, fall fastest half way, end slowly: Caffe's `sigmoid`, scaled to go from 1 to `final`."""
    low, high = _logistic(-steepness / 2), _logistic(steepness / 2)
    return final + (1 - final) * (_logistic(steepness * (0.5 - t)) - low) / (high - low)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def cosine(t: float, cycles: int, final: float) -> float:
    """Fall along half a cosine to `final`, `cycles` times: Loshchilov and Hutter, SGDR (arXiv:1608.03983)."""
    within = math.fmod(t * cycles, 1.0) if t < 1 else 1.0
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * within))


def cyclical(t: float, cycles: int, final: float) -> float:
    """Rise from `final` to 1 and back, `cycles` times: Smith (arXiv:1506.01186), policy `triangular`."""
    return final + (1 - final) * (1 - abs(1 - 2 * math.fmod(t * cycles, 1.0)))


def one_cycle(t: float, rise: float, final: float) -> float:
    """Rise from a 25th to 1 over the share `rise`, fall to `final`, both as cosines: torch's OneCycleLR."""
    if t < rise:
        return _between(ONE_CYCLE_START, 1.0, t / rise)
    return _between(1.0, final, (t - rise) / (1 - rise))


def one_cycle_momentum(t: float, rise: float, high: float, low: float) -> float:
    """Move momentum against the rate: from `high` to `low` at its peak, and back (arXiv:1803.09820)."""
    return _between(high, low, t / rise) if t < rise else _between(low, high, (t - rise) / (1 - rise))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


def plateaus(losses: Sequence[float], patience: int) -> int:
    """Count how often `losses` (one an epoch) went more than `patience` epochs without a better one.

    The count starts anew after each: torch's ReduceLROnPlateau with `threshold` 1e-4 and no cooldown.
    """
    best, waiting, found = math.inf, 0, 0
    for loss in losses:
        best, waiting = (loss, 0) if is_better(loss, best) else (best, waiting + 1)
        if waiting > patience:
            waiting, found = 0, found + 1
    return found


def is_better(loss: float, best: float) -> bool:
    """Say whether a loss beats the best one by more than chance rounding."""
    return loss < best * (1 - LEAST_IMPROVEMENT) if math.isfinite(best) else math.isfinite(loss)


def decay(t: float, how: Schedule) -> float:
    """Return the share of the peak at t of the part after the warm-up, for every kind but one_cycle."""
    curves = {
        "constant": lambda: 1.0,
        "plateau": lambda: 1.0,
        "step": lambda: step(t, how.drops, how.gamma),
        "multistep": lambda: multistep(t, how.milestones, how.gamma),
        "exponential": lambda: exponential(t, how.final),
        "inverse": lambda: inverse(t, how.final),
        "polynomial": lambda: polynomial(t, how.power, how.final),
        "sigmoid": lambda: sigmoid(t, how.steepness, how.final),
        "cosine": lambda: cosine(t, how.cycles, how.final),
        "cyclical": lambda: cyclical(t, how.cycles, how.final),
    }
    return curves[how.kind]()


def factor(t: float, warmup: float, how: Schedule, val_losses: Sequence[float] = ()) -> float:
    """Return the rate's share of its peak: a straight rise over the share `warmup`, then the curve.

    A cyclical rate rises of itself and has no warm-up before that: it would fall from the peak to its start.
    val_losses are those of the phase's epochs so far. Source of the warm-up: Goyal et al. (arXiv:1706.02677).
    """
    if how.kind == "one_cycle":
        return one_cycle(t, warmup, how.final)
    if how.kind == "cyclical":
        return decay(t, how)
    if t < warmup:
        return t / warmup
    falls: float = how.gamma ** plateaus(val_losses, how.patience) if how.kind == "plateau" else 1.0
    return falls * decay((t - warmup) / (1 - warmup), how)


def batch_growth(t: float, warmup: float, how: Schedule, batch: int) -> float:
    """Return by how much the batch has grown at t, where the schedule grows it instead of lowering the rate.

    The noise of SGD goes with rate / batch, so a batch 1 / factor as large does what the lower rate would
    (Smith et al., arXiv:1711.00489). Beyond largest_batch, `grown_rate` lowers the rate after all.
    """
    if not how.grow_batch or t < warmup:
        return 1.0
    most = max(1.0, how.largest_batch / batch)
    share = decay((t - warmup) / (1 - warmup), how)
    return 1 / share if share * most > 1 else most


def grown_rate(share: float, growth: float) -> float:
    """Return the rate's share of its peak once the batch has grown: the curve's times the growth."""
    return min(1.0, share * growth)


def scaled_rate(rate: float, batch: int, reference: int, scaling: Scaling) -> float:
    """Return the rate for `batch` where `rate` was found with batches of `reference`.

    linear: Goyal et al. (arXiv:1706.02677), for SGD. sqrt: keeps the variance of a step (Krizhevsky,
    arXiv:1404.5997), and is what holds for Adam (Malladi et al., arXiv:2205.10287).
    """
    ratio = batch / reference
    return rate * {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[scaling]


def ema_decay(step: int, decay: float) -> float:
    """Return the decay of the weights' running mean, small at first so that it forgets the start.

    The ramp (1 + t) / (10 + t) is TensorFlow's ExponentialMovingAverage with num_updates.
    """
    return min(decay, (1 + step) / (10 + step))
