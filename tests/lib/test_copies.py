"""What counts as a near copy: held against the neighbourhood, however many copies there are."""

import numpy as np
import pytest
from planting import reencoded

from stages.lib.copies import FARTHER, near_pairs, usual_residual


def scenes(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random grey pictures, (count, 16, 16, 1)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 1)).astype(np.uint8)
    return coarse.repeat(4, 1).repeat(4, 2)


def find(pixels: np.ndarray, neighbours: int = 20) -> set[tuple[int, int]]:
    vectors = pixels.reshape(len(pixels), -1).astype(np.float32)
    found = near_pairs(pixels, vectors, neighbours, 0.125, 0.2)
    return set(zip(found.first.tolist(), found.second.tolist(), strict=True))


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


def test_pairs_come_best_first_and_once() -> None:
    pixels = scenes(50)
    near = np.stack([reencoded(image, np.random.default_rng(1)) for image in pixels[:20]])
    everything = np.concatenate([pixels, near])
    vectors = everything.reshape(len(everything), -1).astype(np.float32)
    found = near_pairs(everything, vectors, 20, 0.125, 0.2)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) > 0
    assert (found.first < found.second).all()
    assert (np.diff(found.ratio) >= 0).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_pictures_make_no_neighbourhood(count: int) -> None:
    assert find(scenes(count)[[0] * count]) == set()


def test_what_is_usual_lies_beyond_the_copies() -> None:
    plain = np.linspace(0.5, 1, 10, dtype=np.float32)
    with_copies = np.concatenate([np.full(4, 0.01, np.float32), plain[:6]])
    usual = usual_residual(np.stack([plain, with_copies, plain]), threshold=0.2)
    np.testing.assert_allclose(usual, plain[FARTHER - 1])
