import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD, lr_scheduler

from stages.lib import schedule
from stages.lib.schedule import Kind, Schedule, batch_growth, ema_decay, factor, grown_rate, scaled_rate

N = 40
SMOOTH: tuple[Kind, ...] = ("exponential", "inverse", "polynomial", "sigmoid", "cosine")
KINDS: tuple[Kind, ...] = get_args(Kind)


def of_torch(make: Callable[[Any], Any], n: int = N) -> list[float]:
    """Follow a scheduler of torch from rate 1 over n steps."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = make(optimizer)
    rates = []
    for _ in range(n):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


REFERENCES: dict[str, tuple[Callable[[float], float], Callable[[Any], Any]]] = {
    "step": (lambda t: schedule.step(t, 3, 0.3), lambda o: lr_scheduler.StepLR(o, N // 4, 0.3)),
    "multistep": (
        lambda t: schedule.multistep(t, (0.75, 0.5), 0.1),
        lambda o: lr_scheduler.MultiStepLR(o, [20, 30], 0.1),
    ),
    "exponential": (
        lambda t: schedule.exponential(t, 0.01),
        lambda o: lr_scheduler.ExponentialLR(o, 0.01 ** (1 / N)),
    ),
    "polynomial": (
        lambda t: schedule.polynomial(t, 2.0, 0.0),
        lambda o: lr_scheduler.PolynomialLR(o, N, 2.0),
    ),
    "cosine": (
        lambda t: schedule.cosine(t, 1, 0.1),
        lambda o: lr_scheduler.CosineAnnealingLR(o, N, eta_min=0.1),
    ),
    "cosine with restarts": (
        lambda t: schedule.cosine(t, 4, 0.1),
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, N // 4, eta_min=0.1),
    ),
    "cyclical": (
        lambda t: schedule.cyclical(t, 2, 0.1),
        lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, step_size_up=N // 4),
    ),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_curve_is_torchs(name: str) -> None:
    mine, make = REFERENCES[name]
    assert [mine(at / N) for at in range(N)] == pytest.approx(of_torch(make), abs=1e-9)


def test_one_cycle_is_torchs_in_rate_and_momentum() -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    final = 1e-3
    there = lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=N + 1, pct_start=(0.25 * N + 1) / (N + 1), final_div_factor=0.04 / final
    )
    for at in range(N):
        group = optimizer.param_groups[0]
        assert schedule.one_cycle(at / N, 0.25, final) == pytest.approx(group["lr"], abs=1e-9)
        momentum = schedule.one_cycle_momentum(at / N, 0.25, 0.95, 0.85)
        assert momentum == pytest.approx(group["momentum"], abs=1e-9)
        optimizer.step()
        there.step()


def test_inverse_is_kerass_formula_and_sigmoid_caffes_up_to_its_scale() -> None:
    assert schedule.inverse(0.3, 0.1) == pytest.approx(1 / (1 + 9 * 0.3))
    caffe = [1 / (1 + math.exp(8 * (t - 0.5))) for t in (0.0, 0.2, 0.7, 1.0)]
    mine = [schedule.sigmoid(t, 8.0, 0.0) for t in (0.0, 0.2, 0.7, 1.0)]
    scaled = [(value - caffe[-1]) / (caffe[0] - caffe[-1]) for value in caffe]
    assert mine == pytest.approx(scaled)


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=40), st.integers(0, 4))
def test_plateaus_are_those_of_torchs_reduce_on_plateau(losses: list[float], patience: int) -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    there = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, eps=0)
    for loss in losses:
        there.step(loss)
    assert 0.5 ** schedule.plateaus(losses, patience) == optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("kind", SMOOTH)
@settings(max_examples=20)
@given(st.floats(0.01, 0.9), st.floats(0.5, 4), st.floats(0.01, 0.99))
def test_a_smooth_curve_starts_at_the_peak_falls_without_a_jump_and_ends_at_final(
    kind: Kind, final: float, power: float, warmup: float
) -> None:
    how = Schedule(kind=kind, final=final, power=power)
    assert schedule.decay(0.0, how) == pytest.approx(1.0)
    assert schedule.decay(1.0, how) == pytest.approx(final)
    values = [schedule.decay(at / 500, how) for at in range(501)]
    assert values == sorted(values, reverse=True)
    steps = [one - other for one, other in pairwise(values)]
    # The steepest: inverse to 0.01 falls by 99 a unit at its start, (1 - t)^0.5 by sqrt(1 / 500) at its end.
    assert max(steps) < (0.2 if kind == "inverse" else 0.06)
    edge = [factor(warmup + sign * 1e-9, warmup, how) for sign in (-1, 1)]
    assert edge == pytest.approx([1.0, 1.0], abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(st.floats(0.001, 0.999), st.floats(0.01, 0.9))
def test_every_kind_stays_above_zero_and_under_its_peak(kind: Kind, t: float, warmup: float) -> None:
    how = Schedule(kind=kind, final=0.001, cycles=3)
    assert 0 < factor(t, warmup, how) <= 1 + 1e-12


def test_the_warm_up_is_a_straight_line_and_may_be_left_out() -> None:
    how = Schedule(kind="constant")
    assert [factor(t, 0.2, how) for t in (0.05, 0.1, 0.2, 0.9)] == pytest.approx([0.25, 0.5, 1.0, 1.0])
    assert factor(0.0, 0.0, how) == 1.0


def test_a_cyclical_rate_rises_only_by_its_own_triangles() -> None:
    how = Schedule(kind="cyclical", cycles=2, final=0.1)
    values = [factor(at / 40, 0.2, how) for at in range(41)]
    assert values == pytest.approx([schedule.cyclical(at / 40, 2, 0.1) for at in range(41)])
    assert max(abs(one - other) for one, other in pairwise(values)) == pytest.approx(0.9 / 10)


def test_a_plateau_lowers_the_rate_by_gamma() -> None:
    how = Schedule(kind="plateau", gamma=0.5, patience=1)
    assert factor(0.9, 0.1, how, [1.0, 0.9, 0.9, 0.9]) == 0.5
    assert factor(0.9, 0.1, how, [1.0, 0.9, 0.8, 0.7]) == 1.0


@given(st.floats(0, 1), st.sampled_from(("step", "exponential", "cosine")), st.integers(1, 4000))
def test_a_growing_batch_keeps_the_ratio_of_rate_to_batch(t: float, kind: Kind, largest: int) -> None:
    how = Schedule(kind=kind, final=0.01, grow_batch=True, largest_batch=largest)
    growth = batch_growth(t, 0.2, how, 50)
    share = factor(t, 0.2, how)
    assert 1 <= growth <= max(1, largest / 50)
    assert grown_rate(share, growth) / growth == pytest.approx(share)
    if growth < largest / 50:
        assert grown_rate(share, growth) == pytest.approx(min(1.0, share if t < 0.2 else 1.0))


def test_the_rate_is_scaled_linearly_or_by_the_root() -> None:
    assert scaled_rate(0.1, 256, 64, "none") == 0.1
    assert scaled_rate(0.1, 256, 64, "linear") == pytest.approx(0.4)
    assert scaled_rate(0.1, 256, 64, "sqrt") == pytest.approx(0.2)


def test_the_running_mean_forgets_its_start_and_keeps_its_decay() -> None:
    assert ema_decay(0, 0.99) == pytest.approx(0.1)
    assert ema_decay(10_000, 0.99) == 0.99
    assert ema_decay(500, 0.0) == 0.0
