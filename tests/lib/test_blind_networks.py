import numpy as np
import pytest

from stages.lib.blind_networks import Kind, blind_network_probs, what_is_left
from stages.lib.dataset import Dataset


def dataset(labels: np.ndarray, pixels: np.ndarray) -> Dataset:
    n = len(labels)
    split = np.where(np.arange(n) // 4 % 4 == 3, "test", "train")
    classes = tuple(map(str, range(int(labels.max()) + 1)))
    return Dataset(tuple(map(str, range(n))), pixels, labels, split, classes)


def black(labels: np.ndarray) -> Dataset:
    return dataset(labels, np.zeros((len(labels), 32, 32, 3), np.uint8))


@pytest.mark.parametrize("kind", ["zeros", "noise"])
def test_a_network_that_sees_nothing_learns_the_class_shares(kind: Kind) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3, dtype=np.int64), [700, 250, 50]))
    made = black(labels)
    probs = blind_network_probs(kind, made, made.part("test"), seed=0)
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    shares = np.bincount(labels[made.part("train")]) / len(made.part("train"))
    np.testing.assert_allclose(probs.mean(0), shares, atol=0.05)
    assert (probs.argmax(1) == 0).all()


def test_light_is_learned_from_the_histogram_and_place_is_not() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(320, dtype=np.int64) % 2
    by_light = rng.integers(0, 120, (320, 8, 8, 1)) + 100 * labels[:, None, None, None]
    by_place = rng.integers(0, 100, (320, 8, 8, 1))
    half = np.arange(8) < 4
    by_place[labels == 0] += 100 * half[:, None, None]
    by_place[labels == 1] += 100 * ~half[:, None, None]
    for pixels, low, high in ((by_light, 0.95, 1.0), (by_place, 0.3, 0.7)):
        made = dataset(labels, pixels.astype(np.uint8))
        rows = made.part("test")
        said = blind_network_probs("histogram", made, rows, seed=0).argmax(1)
        assert low <= float((said == labels[rows]).mean()) <= high


@pytest.mark.parametrize("side", [8, 40])
def test_what_is_left_for_the_histogram_forgets_every_place(side: int) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    moved = pixels.reshape(3, -1, 3)[:, rng.permutation(side * side)].reshape(pixels.shape)
    kept = min(side, 16)
    one = what_is_left("histogram", pixels, np.arange(3), kept, np.random.default_rng(0))
    assert one.shape == (3, kept, kept, 3)
    light = one.reshape(3, -1, 3).sum(2, dtype=int)
    assert (np.diff(light, axis=1) >= 0).all()
    if side == 8:
        other = what_is_left("histogram", moved, np.arange(3), kept, np.random.default_rng(0))
        np.testing.assert_array_equal(light, other.reshape(3, -1, 3).sum(2, dtype=int))
    colours = {tuple(colour) for colour in pixels[0].reshape(-1, 3)}
    assert {tuple(colour) for colour in one[0].reshape(-1, 3)} <= colours


def test_it_is_the_same_each_time() -> None:
    labels = np.arange(40, dtype=np.int64) % 4
    made = black(labels)
    for kind in ("zeros", "noise", "histogram"):
        one, other = (blind_network_probs(kind, made, made.part("test"), seed=3) for _ in range(2))
        np.testing.assert_array_equal(one, other)
