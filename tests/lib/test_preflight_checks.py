"""The checks run in order, go on where steps are too few, and find a leak where there is nothing to learn."""

import pytest

from stages import preflight
from stages.lib.checks import Check, at_most
from stages.lib.preflight_checks import Record, blind_group, every_check, patiently
from stages.lib.preflight_subject import Subject, subject_of
from tests.mutations import BUGS, Setup, base


def subject_in(setup: Setup) -> Subject:
    recipe = preflight.recipe_of(setup.train, seed=0)
    origin = preflight.origin_of(setup.train)
    return subject_of(setup.dataset, setup.plan, recipe, setup.architecture, setup.batch_size, origin)


def test_every_check_has_a_name_of_its_own_and_is_recorded() -> None:
    setup, record = base(), Record()
    checks = list(every_check(setup.dataset, subject_in(setup), setup.budget, record))
    assert len({check.name for check in checks}) == len(checks) == len(record.checks) == 35
    assert all(check.passed and check.why and check.bound for check in checks)


def test_the_first_fault_can_be_had_without_paying_for_the_rest() -> None:
    setup, record = base(), Record()
    next(every_check(setup.dataset, subject_in(setup), setup.budget, record))
    assert len(record.checks) == 1
    assert record.run is None


def test_a_leaked_label_is_found_where_there_is_nothing_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    setup, record = base(), Record()
    subject = subject_in(setup)
    assert all(check.passed for check in every_check(setup.dataset, subject, setup.budget, record))
    (leak,) = [bug for bug in BUGS if bug.name == "label leaked into the picture"]
    leak.code(monkeypatch)
    found = {check.name: check.passed for check in blind_group(subject, record, 80, 0)}
    assert not any(passed for name, passed in found.items() if name.startswith("learns_nothing"))


def test_what_needs_more_steps_goes_on_and_what_never_passes_stops_at_the_last_doubling() -> None:
    tried: list[int] = []

    def attempt(steps: int) -> list[Check]:
        tried.append(steps)
        return [at_most("x", 100 / sum(tried), 0.3, "because")]

    (check,) = patiently(attempt, 100, 4)
    assert check.passed
    assert tried == [100, 100, 200]
    tried.clear()
    (check,) = patiently(attempt, 10, 2)
    assert not check.passed
    assert tried == [10, 10, 20]
