"""Neighbours against brute force in numpy, and rows that are equal."""

import numpy as np
import pytest

from stages.lib.neighbours import Found, _without_gaps, nearest, search, without_self


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


def with_copies(count: int, seed: int = 0) -> np.ndarray:
    """Clustered vectors (2 * count, 24), the second half copies of the first with a little noise."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((40, 24))
    vectors = centres[generator.integers(0, 40, count)] + generator.standard_normal((count, 24))
    copies = vectors + 0.05 * generator.standard_normal((count, 24))
    return np.concatenate([vectors, copies]).astype(np.float32)


def test_the_inverted_file_finds_copies_as_exact_search_does() -> None:
    vectors = with_copies(3000)
    exact, inverted = search(vectors, vectors, 10), search(vectors, vectors, 10, exact_up_to=100)
    copy = (np.arange(6000) + 3000) % 6000
    assert (exact.indices[:, 0] == copy).all()
    assert (inverted.indices[:, 0] == copy).mean() > 0.99
    shared = (exact.indices[:, :, None] == inverted.indices[:, None, :]).any(2).mean()
    assert shared > 0.6


def test_the_inverted_file_gives_the_same_answer_again() -> None:
    vectors = with_copies(1500, seed=1)
    first, again = (search(vectors, vectors, 5, exact_up_to=100) for _ in range(2))
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.distances, again.distances)


def test_distances_are_euclidean() -> None:
    vectors = np.random.default_rng(3).standard_normal((60, 5)).astype(np.float32)
    found = search(vectors, vectors, 4)
    plain = np.linalg.norm(vectors[:, None] - vectors[found.indices], axis=2)
    np.testing.assert_allclose(found.distances, plain, atol=1e-3)


def test_places_that_an_inverted_file_leaves_empty_are_filled_by_the_last_one_found() -> None:
    indices = np.array([[1, 2, -1], [-1, -1, -1], [0, 1, 3]])
    found = _without_gaps(Found(indices, np.array([[1, 2, 9], [9, 9, 9], [1, 2, 3]], np.float32)))
    np.testing.assert_array_equal(found.indices, [[1, 2, 2], [2, 2, 2], [0, 1, 3]])
    np.testing.assert_array_equal(found.distances[:2], [[1, 2, 2], [np.inf] * 3])
