import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.counters import epoch_order, generator

CPU = torch.device("cpu")


def test_the_same_counters_give_the_same_draws_whatever_was_drawn_before() -> None:
    first = torch.rand(5, generator=generator(CPU, "batch", 3, 7))
    torch.rand(100)
    assert torch.equal(first, torch.rand(5, generator=generator(CPU, "batch", 3, 7)))


@settings(max_examples=50, deadline=None)
@given(st.tuples(st.integers(0, 99), st.integers(0, 99)), st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_other_counters_give_other_draws(one: tuple[int, int], other: tuple[int, int]) -> None:
    draws = [torch.rand(4, generator=generator(CPU, "x", *counters)) for counters in (one, other)]
    assert torch.equal(*draws) == (one == other)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_visits_every_sample_once(n: int, seed: int, epoch: int) -> None:
    assert sorted(epoch_order(n, None, seed, epoch).tolist()) == list(range(n))


def test_sampling_weights_are_followed_in_proportion() -> None:
    weights = torch.cat([torch.full((900,), 1.0), torch.full((100,), 9.0)])
    order = torch.cat([epoch_order(1000, weights, 0, epoch) for epoch in range(20)])
    rare = float((order >= 900).float().mean())
    assert abs(rare - 0.5) < 0.02  # 20,000 draws: five standard errors are 0.018
