"""Likely pairs: near for how dense it is around them, each once, from both ends and mirrored."""

import numpy as np
import pytest

from stages.lib.candidates import Candidates, candidates
from stages.lib.neighbours import Found, search


def found_in(vectors: np.ndarray, queries: np.ndarray | None = None, k: int = 6) -> Found:
    return search(vectors, vectors if queries is None else queries, k)


def test_a_close_pair_in_a_dense_place_comes_after_one_in_a_sparse_place() -> None:
    generator = np.random.default_rng(0)
    dense, sparse = 0.1 * generator.standard_normal((50, 8)), 5 + generator.standard_normal((50, 8))
    pair = sparse[:1] + 0.1
    vectors = np.concatenate([dense, sparse, pair]).astype(np.float32)
    pairs = candidates(found_in(vectors), None, 1000)
    best = pairs.take(np.argsort(pairs.density))
    assert (best.first[0], best.second[0]) == (50, 100)
    raw = np.linalg.norm(vectors[pairs.first] - vectors[pairs.second], axis=1)
    assert (raw < raw[np.argmin(pairs.density)]).any()


def test_each_pair_is_named_once_in_order_and_the_likelier_sight_of_it_stays() -> None:
    vectors = np.random.default_rng(1).standard_normal((80, 5)).astype(np.float32)
    plain = found_in(vectors)
    closer = Found(plain.indices, plain.distances / 2)
    pairs = candidates(plain, closer, 10_000)
    names = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(set(names)) == len(names)
    assert all(first < second for first, second in names)
    assert pairs.mirrored.all()


@pytest.mark.parametrize("most", [0, 1, 17, 5000])
def test_no_more_than_asked_for_and_those_the_likeliest(most: int) -> None:
    vectors = np.random.default_rng(2).standard_normal((200, 5)).astype(np.float32)
    everything = candidates(found_in(vectors), None, 10_000)
    some = candidates(found_in(vectors), None, most)
    assert len(some.first) == min(most, len(everything.first))
    np.testing.assert_allclose(np.sort(some.density), np.sort(everything.density)[:most])


@pytest.mark.parametrize("most", [5, 300])
def test_block_by_block_gives_the_same_pairs_as_all_at_once(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(3).standard_normal((200, 5)).astype(np.float32)
    plain, turned = found_in(vectors), found_in(vectors, vectors[:, ::-1].copy())
    whole = candidates(plain, turned, most)
    monkeypatch.setattr("stages.lib.candidates.BLOCK", 7)
    parts = candidates(plain, turned, most)
    for name in Candidates.__annotations__:
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_equal_vectors_are_no_nearer_than_usual() -> None:
    pairs = candidates(found_in(np.zeros((40, 4), np.float32)), None, 1000)
    np.testing.assert_allclose(pairs.density, 1)
