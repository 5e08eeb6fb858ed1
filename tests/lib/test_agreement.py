import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib import agreement


def said_by(n: int, people: int, classes: int, wrong: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return votes (n, people) of people who err independently, and the truth (n,)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    other = (truth[:, None] + rng.integers(1, classes, (n, people))) % classes
    return np.where(rng.random((n, people)) < wrong, other, truth[:, None]), truth


def test_each_person_is_held_against_the_majority_of_the_others() -> None:
    said = np.array([[0, 0, 1], [1, 1, 1], [2, -1, 2], [0, 1, 2], [-1, -1, 0]])
    # Row 0: the third is outvoted 0:0; the first and second meet a tie of 0 and 1. Row 3: always a tie.
    counts = agreement.vote_counts(said, 3)
    assert agreement.with_others(said, counts) == [(2, 2), (1, 1), (2, 3)]


def test_people_who_err_independently_are_measured_at_their_rate_named_or_not() -> None:
    said, _ = said_by(20_000, 5, 5, 0.1)
    counts = agreement.vote_counts(said, 5)
    found = agreement.with_others(said, counts)
    for equal, n in found:
        assert equal / n == pytest.approx(0.9, abs=0.02)
    together = tuple(sum(both) for both in zip(*found, strict=True))
    assert agreement.unnamed_with_others(counts, np.zeros_like(counts)) == together


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 9))
def test_pair_agreement_is_the_plain_count_of_pairs(classes: int, people: int, seed: int) -> None:
    said, _ = said_by(30, people, classes, 0.4, seed)
    plain = [one == other for row in said for place, one in enumerate(row) for other in row[place + 1 :]]
    assert agreement.pair_agreement(agreement.vote_counts(said, classes)) == pytest.approx(np.mean(plain))


def test_cohens_kappa_is_scikit_learns() -> None:
    from sklearn.metrics import cohen_kappa_score

    said, _ = said_by(500, 2, 4, 0.3)
    found = agreement.cohen_kappa(said[:, 0], said[:, 1], 4)
    assert found == pytest.approx(cohen_kappa_score(said[:, 0], said[:, 1]))
    said[::3, 0] = -1
    assert agreement.cohen_kappa(said[:, 0], said[:, 1], 4) != found
    assert agreement.cohen_kappa(np.array([-1]), np.array([0]), 4) is None
    assert agreement.cohen_kappa(np.array([0, 0]), np.array([0, 0]), 4) is None


def test_fleiss_kappa_is_that_of_his_paper() -> None:
    """The table of fourteen votes on ten subjects in five categories, kappa 0.210."""
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert agreement.fleiss_kappa(np.array(table)) == pytest.approx(0.210, abs=0.0005)


def test_krippendorffs_alpha_is_that_of_his_example_with_gaps() -> None:
    """Four observers, twelve units, gaps (Krippendorff 2011, Computing his Alpha-Reliability, C)."""
    said = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
            [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
        ]
    )
    counts = agreement.vote_counts(said.T - 1, 5)
    assert agreement.krippendorff_alpha(counts) == pytest.approx(0.743, abs=0.0005)


def test_without_two_votes_on_anything_there_is_no_agreement() -> None:
    alone = np.array([[1, 0], [0, 1]])
    assert agreement.fleiss_kappa(alone) is None
    assert agreement.krippendorff_alpha(alone) is None
    assert agreement.krippendorff_alpha(np.array([[2, 0], [3, 0]])) is None  # one class: chance explains all


def test_a_tie_is_no_majority() -> None:
    assert agreement.majority(np.array([[2, 1], [1, 1], [0, 0], [0, 3]])).tolist() == [0, -1, -1, 1]
