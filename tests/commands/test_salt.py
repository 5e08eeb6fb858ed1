"""A salt is chosen by label counts alone, and the best one found beats a typical one."""

from pathlib import Path
from statistics import median

import numpy as np

from stages.commands.salt import candidates
from stages.lib.config import load_section
from stages.lib.division import Samples
from stages.split import Params

PARAMS = load_section(Params, "split", Path(__file__).parent.parent.parent / "params.yaml")


def samples(n: int, n_classes: int) -> Samples:
    ids = [f"sample{i}" for i in range(n)]
    labels: list[str | None] = [str(i % n_classes) for i in range(n)]
    nothing: list[str | None] = [None] * n
    return Samples(ids, labels, ["keep"] * n, np.zeros(n, bool), nothing, nothing, nothing)


def test_candidates_are_ranked_by_the_worst_class_and_the_best_beats_the_median() -> None:
    ranked = candidates(samples(600, 4), PARAMS, 100)
    deviations = [item.max_share_deviation for item in ranked]
    assert deviations == sorted(deviations)
    assert deviations[0] < 0.6 * median(deviations)
    assert {item.n_train + item.n_val + item.n_test for item in ranked} == {600}


def test_the_choice_depends_on_counts_and_not_on_the_order_of_rows() -> None:
    few = samples(200, 2)
    backwards = Samples(
        few.sample_ids[::-1], few.labels[::-1], few.status, few.rule_made, few.near, few.near, few.near
    )
    assert candidates(few, PARAMS, 20) == candidates(backwards, PARAMS, 20)


def test_a_salt_that_leaves_a_class_without_a_place_is_no_candidate() -> None:
    assert candidates(samples(4, 2), PARAMS, 30) == []
