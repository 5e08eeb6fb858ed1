"""Preflight catches what is planted, and raises no false alarm where nothing is wrong."""

import pytest

from tests.mutations import BUGS, HEALTHY, NO_BUG, Bug, base, caught_by

QUICK = (
    "bars, 8 px, colour",
    "bars, 1 : 13 : 13",
    "bars without val",
    "digits, two classes",
    "digits, rare class drawn more often",
)
"""Healthy set-ups of every run of the tests; the others are slow."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_stops_the_chain(bug: Bug) -> None:
    assert caught_by(base(imbalanced=bug.imbalanced), bug) is not None


@pytest.mark.parametrize("name", QUICK)
def test_a_healthy_set_up_passes(name: str) -> None:
    assert caught_by(HEALTHY[name](), NO_BUG) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(HEALTHY) - set(QUICK)))
def test_every_healthy_set_up_passes(name: str) -> None:
    assert caught_by(HEALTHY[name](), NO_BUG) is None


def test_there_are_enough_of_both() -> None:
    assert len(BUGS) >= 20
    assert len(HEALTHY) >= 20
    assert set(QUICK) <= set(HEALTHY)
