"""Preflight catches what is planted, and raises no false alarm where nothing is wrong."""

import pytest

from tests.mutations import BUGS, HEALTHY, LATER, NO_BUG, Bug, base, caught_by

QUICK = ("bars, 90 images", "bars, first layer frozen, rates by depth")
"""Healthy set-ups of every run of the tests; the others are slow."""

MISSED = {"optimiser forgets its moments at each step"}
"""AdamW without memory learns all the same, a little worse: nothing that a short run shows."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def planted(*, trains: bool) -> list[Bug]:
    return [bug for bug in BUGS + LATER if bug.trains is trains and bug.name not in MISSED]


@pytest.mark.parametrize("bug", planted(trains=False), ids=lambda bug: bug.name)
def test_a_planted_bug_stops_the_chain_before_anything_is_trained(bug: Bug) -> None:
    assert caught_by(base(imbalanced=bug.imbalanced), bug) is not None


@pytest.mark.slow
@pytest.mark.parametrize("bug", planted(trains=True), ids=lambda bug: bug.name)
def test_a_planted_bug_that_training_shows_stops_the_chain(bug: Bug) -> None:
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
    assert {bug.name for bug in LATER} >= MISSED
