import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.schedule import ema_decay, warmup_cosine


@given(st.integers(1, 500), st.floats(0.01, 0.9))
def test_the_factor_stays_above_zero_and_rises_once_then_falls(n_steps: int, warmup: float) -> None:
    factors = [warmup_cosine(step, n_steps, warmup) for step in range(n_steps)]
    assert all(0 < factor <= 1 for factor in factors)
    peak = factors.index(max(factors))
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


def test_the_fall_is_half_a_cosine() -> None:
    assert warmup_cosine(79, 100, 0.6) == pytest.approx(0.5 * (1 + math.cos(math.pi * (0.795 - 0.6) / 0.4)))


def test_the_running_mean_forgets_its_start_and_keeps_its_decay() -> None:
    assert ema_decay(0, 0.99) == pytest.approx(0.1)
    assert ema_decay(10_000, 0.99) == 0.99
    assert ema_decay(500, 0.0) == 0.0
