"""The store gives back the pixels it was given, through the cache as without it."""

from pathlib import Path

import numpy as np
import pytest

from stages.lib import image_store
from stages.lib.ending import has_sound_chunks
from stages.lib.image_store import decode_png, encode_png, read_pixels, write_images


def store(folder: Path, arrays: list[np.ndarray], channels: int) -> None:
    images = ((f"s{i}", encode_png(array)) for i, array in enumerate(arrays))
    write_images(folder / image_store.FILE, images, arrays[0].shape[0], channels, "digest")


@pytest.mark.parametrize("side", [1, 8, 18, 31, 32, 33])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_and_large_images_are_sound_pngs_of_their_pixels(side: int, channels: int) -> None:
    array = np.random.default_rng(side).integers(0, 256, (side, side, channels), np.uint8)
    encoded = encode_png(array)
    assert has_sound_chunks(encoded)
    assert np.array_equal(decode_png(encoded, channels), array)


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_come_back_exactly(tmp_path: Path, channels: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (8, 8, channels), np.uint8) for _ in range(5)]
    store(tmp_path, arrays, channels)
    pixels = read_pixels(tmp_path)
    assert pixels.sample_ids == ("s0", "s1", "s2", "s3", "s4")
    assert np.array_equal(pixels.array, np.stack(arrays))


def test_a_grey_image_in_a_colour_store_has_three_equal_channels(tmp_path: Path) -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    store(tmp_path, [grey], 3)
    assert np.array_equal(read_pixels(tmp_path).array[0], np.repeat(grey[..., None], 3, 2))


def test_the_cache_gives_the_same_pixels_and_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_store, "CACHE_FROM_BYTES", 0)
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    store(tmp_path, [np.full((8, 8), 7, np.uint8)], 1)
    first = read_pixels(tmp_path).array
    monkeypatch.setattr(image_store, "decode_png", lambda *_, **__: pytest.fail("decoded again"))
    assert np.array_equal(read_pixels(tmp_path).array, first)
    assert (first == 7).all()


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    arrays = [np.full((8, 8), 7, np.uint8)]
    for name in ("a", "b"):
        store(tmp_path / name, arrays, 1)
    assert (tmp_path / "a" / image_store.FILE).read_bytes() == (
        tmp_path / "b" / image_store.FILE
    ).read_bytes()
