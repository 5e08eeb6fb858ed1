"""Fewer numbers a vector: distances as far as they go, mirrored vectors where their mirror images would
lie."""

import numpy as np

from stages.lib.principal import principal


def distances(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(vectors[:, None] - vectors[None], axis=2))


def test_as_many_directions_as_numbers_keep_all_distances() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 7)).astype(np.float32)
    projected = principal(vectors, 20).project(vectors, np.arange(60))
    assert projected.shape == (60, 7)
    np.testing.assert_allclose(distances(projected), distances(vectors), atol=1e-4)


def test_what_varies_most_is_kept() -> None:
    scale = np.array([5, 0.1, 3, 0.1, 0.1], np.float32)
    vectors = np.random.default_rng(1).standard_normal((300, 5)).astype(np.float32) * scale
    projected = principal(vectors, 2).project(vectors, np.arange(300))
    np.testing.assert_allclose(distances(projected), distances(vectors[:, [0, 2]]), atol=0.5)


def test_a_mirrored_vector_lies_where_the_mirror_images_vector_lies() -> None:
    columns = np.array([1, 0, 2, 4, 3, 5])
    vectors = np.random.default_rng(2).standard_normal((50, 6)).astype(np.float32)
    basis, rows = principal(vectors, 4, columns), np.array([3, 9, 40])
    expected = basis.project(vectors[:, columns], rows)
    np.testing.assert_allclose(basis.mirrored(columns).project(vectors, rows), expected, atol=1e-5)
