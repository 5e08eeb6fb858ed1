"""Schedules as functions of the step: no object to save, nothing to get out of step on resume."""

import math


def warmup_cosine(step: int, n_steps: int, warmup_fraction: float) -> float:
    """Return the rate's factor in (0, 1]: linear rise over the first share of steps, then half a cosine down.

    Step 0 is already above zero and the last step is not quite zero, so that no step is wasted.
    Source: Loshchilov and Hutter, SGDR (arXiv:1608.03983), one cycle without restart; warm-up as in
    Goyal et al. (arXiv:1706.02677).
    """
    done = (step + 0.5) / n_steps
    if done < warmup_fraction:
        return done / warmup_fraction
    return 0.5 * (1 + math.cos(math.pi * (done - warmup_fraction) / (1 - warmup_fraction)))


def ema_decay(step: int, decay: float) -> float:
    """Return the decay of the weights' running mean, small at first so that it forgets the start.

    The ramp (1 + t) / (10 + t) is TensorFlow's ExponentialMovingAverage with num_updates.
    """
    return min(decay, (1 + step) / (10 + step))
