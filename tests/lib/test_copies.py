"""What counts as a near copy: held against the neighbourhood, however many copies there are."""

import numpy as np
import pytest
from planting import reencoded

from stages.lib.alignment import Limits
from stages.lib.candidates import candidates
from stages.lib.copies import FARTHER, compare, residual_ratios, usual_residual
from stages.lib.neighbours import search

LIMITS = Limits(2, 0.0)
THRESHOLD = 0.2


def scenes(count: int, seed: int = 0) -> np.ndarray:
    """Random grey pictures of 8 x 8 patches, (count, 16, 16, 1)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1)).astype(np.uint8)
    return coarse.repeat(2, 1).repeat(2, 2)


def find(pixels: np.ndarray, neighbours: int = 20) -> set[tuple[int, int]]:
    vectors = pixels.reshape(len(pixels), -1).astype(np.float32)
    found = search(vectors, vectors, neighbours)
    pairs = candidates(found, None, 100_000)
    ratio = residual_ratios(pixels[..., 0], pairs, found.indices, LIMITS, THRESHOLD)
    close = ratio <= THRESHOLD
    return set(zip(pairs.first[close].tolist(), pairs.second[close].tolist(), strict=True))


@pytest.mark.parametrize("count", [1, 2, 5, 15])
def test_all_of_several_copies_of_one_picture_are_found(count: int) -> None:
    generator = np.random.default_rng(count)
    pixels = scenes(60)
    copies = np.stack([reencoded(pixels[7], generator) for _ in range(count)])
    _, distinct = np.unique(copies.reshape(count, -1), axis=0, return_index=True)
    found = find(np.concatenate([pixels, copies[distinct]]))
    members = {7, *range(60, 60 + len(distinct))}
    assert {a for a, _ in found} | {b for _, b in found} == members


def test_a_burst_larger_than_the_neighbourhood_is_found() -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(-3, 4, (30, 16, 16, 1))
    burst = np.clip(scenes(1, seed=9).astype(int) + noise, 0, 255).astype(np.uint8)
    found = find(np.concatenate([scenes(80), burst]), neighbours=10)
    assert {a for pair in found for a in pair} == set(range(80, 110))


def test_different_pictures_are_no_copies() -> None:
    assert find(scenes(200)) == set()


def test_a_mirrored_pair_agrees_only_when_mirrored() -> None:
    pixels = scenes(10)[..., 0]
    both = np.concatenate([pixels, pixels[:, :, ::-1]])
    first, second = np.arange(10), np.arange(10, 20)
    assert compare(both, first, second, np.ones(10, bool), LIMITS).max() < 1e-3
    assert compare(both, first, second, np.zeros(10, bool), LIMITS).min() > 0.2


def test_comparing_by_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, first = scenes(40)[..., 0], np.arange(39)
    whole = compare(pixels, first, first + 1, first % 2 == 0, LIMITS)
    monkeypatch.setattr("stages.lib.copies.CHUNK_NUMBERS", 16 * 16 * 7)
    np.testing.assert_allclose(compare(pixels, first, first + 1, first % 2 == 0, LIMITS), whole, atol=1e-6)


def test_what_is_usual_lies_beyond_the_copies() -> None:
    plain = np.linspace(0.5, 1, 10, dtype=np.float32)
    with_copies = np.concatenate([np.full(4, 0.01, np.float32), plain[:6]])
    usual = usual_residual(np.stack([plain, with_copies, plain]), 0.2, typical=0.7)
    np.testing.assert_allclose(usual, plain[FARTHER - 1])


def test_among_copies_alone_the_typical_place_stands_in() -> None:
    assert usual_residual(np.full((1, 10), 0.01, np.float32), 0.2, typical=0.7)[0] == np.float32(0.7)
