import math

from stages.lib.checks import at_least, at_most


def test_a_value_on_its_bound_passes_and_one_beyond_fails() -> None:
    assert at_most("x", 1.0, 1.0, "why").passed
    assert not at_most("x", 1.1, 1.0, "why").passed
    assert at_least("x", 1.0, 1.0, "why").passed
    assert not at_least("x", 0.9, 1.0, "why").passed


def test_exploding_numbers_fail_instead_of_passing_and_can_be_written() -> None:
    for judge in (at_most, at_least):
        for value in (math.nan, math.inf):
            found = judge("x", value, 1.0, "why")
            assert not found.passed
            assert math.isfinite(found.value)
