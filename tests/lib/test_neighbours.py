"""Neighbours against brute force in numpy, and rows that are equal."""

import numpy as np
import pytest

from stages.lib.neighbours import nearest, without_self


def test_neighbours_are_those_of_brute_force() -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    distance = ((vectors[:, None] - vectors[None]) ** 2).sum(2)
    np.fill_diagonal(distance, np.inf)
    np.testing.assert_array_equal(nearest(vectors, 7), np.argsort(distance, axis=1)[:, :7])


def test_no_row_is_its_own_neighbour_even_among_equal_rows() -> None:
    found = nearest(np.zeros((50, 4), np.float32), 5)
    assert found.shape == (50, 5)
    assert not (found == np.arange(50)[:, None]).any()


def test_a_row_crowded_out_of_its_own_list_loses_the_farthest() -> None:
    found = np.array([[0, 1, 2], [2, 0, 1], [3, 1, 0], [3, 0, 1]])
    np.testing.assert_array_equal(without_self(found), [[1, 2], [2, 0], [3, 1], [0, 1]])


@pytest.mark.parametrize("k", [0, 3, 10])
def test_more_neighbours_than_other_rows_is_an_error(k: int) -> None:
    with pytest.raises(ValueError, match="k must be"):
        nearest(np.eye(3, dtype=np.float32), k)
