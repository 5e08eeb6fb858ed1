"""Scores: copies before look-alikes, pairs that join before pairs that repeat."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.candidates import Candidates
from stages.lib.components import components
from stages.lib.pair_scores import ACCEPTED, JOINING, joining, score_pairs


def scored(
    ends: list[tuple[int, int]], density: list[float], ratio: list[float], mirrored: Sequence[bool] = ()
) -> np.ndarray:
    turned = np.array(mirrored or [False] * len(ends))
    pairs = Candidates(*np.array(ends).T, turned, np.array(density, np.float32))
    return score_pairs(pairs, np.array(ratio, np.float32), 0.2)


def test_the_weakest_pair_of_three_copies_repeats_what_the_others_say() -> None:
    scores = scored([(0, 1), (0, 2), (1, 2)], [0.1, 0.2, 0.3], [0.1, 0.1, 0.1])
    assert scores[0] > scores[1] >= JOINING > scores[2] >= ACCEPTED


def test_a_look_alike_never_reaches_a_copy() -> None:
    scores = scored([(0, 1), (2, 3)], [2.5, 0.0], [0.2, 0.21])
    assert scores[0] >= JOINING
    assert scores[1] < ACCEPTED


def test_a_mirrored_copy_stands_behind_plain_ones_and_before_look_alikes() -> None:
    scores = scored([(0, 1), (2, 3), (4, 5)], [0.8, 0.1, 0.1], [0.1, 0.1, 0.3], [False, True, False])
    assert scores[0] > scores[1] >= JOINING
    assert scores[2] < ACCEPTED


def test_of_a_plain_and_a_mirrored_way_to_join_a_picture_the_plain_one_joins() -> None:
    scores = scored([(0, 1), (0, 2), (1, 2)], [0.1, 0.5, 0.1], [0.1, 0.1, 0.1], [False, False, True])
    assert (scores >= JOINING).tolist() == [True, True, False]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_joining_pairs_are_as_few_as_connect_what_all_pairs_connect(pairs: list[tuple[int, int]]) -> None:
    marks = joining([a for a, _ in pairs], [b for _, b in pairs])
    kept = [pair for pair, mark in zip(pairs, marks, strict=True) if mark]
    np.testing.assert_array_equal(components(10, kept), components(10, pairs))
    assert len(kept) == 10 - len(set(components(10, pairs).tolist()))
