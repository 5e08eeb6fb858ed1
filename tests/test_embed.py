"""Embeddings: any size and colour, one row per image, and what is promised of shifts and light."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planting import moved, relit

from stages import embed
from stages.lib.artifacts import read_npy, read_table, write_table
from stages.lib.digits import read_digits, to_8_bit
from stages.lib.errors import InputError
from stages.lib.image_store import encode_png, write_images

PARAMS = embed.Params(descriptor="hog", max_side=32, cells=4, orientations=8, coarse_side=8)
PIXELS = PARAMS.model_copy(update={"descriptor": "pixels"})


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return to_8_bit(read_digits()[0])[..., None]


@settings(max_examples=25, deadline=None)
@given(
    side=st.integers(8, 256),
    channels=st.sampled_from([1, 3]),
    descriptor=st.sampled_from([PARAMS, PIXELS]),
    seed=st.integers(0, 99),
)
def test_any_size_and_colour_gives_finite_rows_of_length_one(
    side: int, channels: int, descriptor: embed.Params, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (3, side, side, channels), np.uint8)
    vectors = embed.embed_all(images, descriptor)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("side", [8, 11, 32, 100])
@pytest.mark.parametrize("value", [0, 7, 128, 255])
@pytest.mark.parametrize("params", [PARAMS, PIXELS])
def test_a_constant_image_is_a_row_of_zeros(side: int, value: int, params: embed.Params) -> None:
    assert not embed.embed_all(np.full((2, side, side, 3), value, np.uint8), params).any()


def test_the_width_depends_on_params_and_channels_only() -> None:
    widths = {embed.embed_all(np.zeros((1, side, side, 3), np.uint8), PARAMS).shape[1] for side in (8, 9, 64)}
    assert len(widths) == 1


def test_an_image_is_described_alike_alone_and_among_others(
    digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = embed.embed_all(digits[:40], PARAMS)
    monkeypatch.setattr(embed, "CHUNK_BYTES", 1)
    alone = embed.embed_all(digits[:40], PARAMS)
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_less_light_hardly_moves_a_picture(digits: np.ndarray) -> None:
    darker = (digits[:200] // 2).astype(np.uint8)
    apart = np.linalg.norm(embed.embed_all(digits[:200], PARAMS) - embed.embed_all(darker, PARAMS), axis=1)
    others = np.linalg.norm(np.diff(embed.embed_all(digits[:200], PARAMS), axis=0), axis=1)
    assert np.median(apart) < 0.1 * np.median(others)


def test_the_spectrum_is_the_same_wherever_the_shape_lies_on_black() -> None:
    shape = np.random.default_rng(0).random((1, 1, 4, 4), np.float32)
    here = np.pad(shape, ((0, 0), (0, 0), (0, 4), (0, 4)))
    there = np.pad(shape, ((0, 0), (0, 0), (3, 1), (2, 2)))
    np.testing.assert_allclose(embed.spectrum(here), embed.spectrum(there), atol=1e-4)


def test_gradients_and_spectrum_keep_moved_digits_nearer_than_pixels_do(digits: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    copies = np.stack([moved(image, generator) for image in digits[:300]])

    def median_rank(params: embed.Params) -> float:
        originals, shifted = embed.embed_all(digits, params), embed.embed_all(copies, params)
        distance = ((shifted[:, None, :] - originals[None, :, :]) ** 2).sum(2)
        return float(np.median((distance < distance[np.arange(300), np.arange(300)][:, None]).sum(1)))

    assert median_rank(PARAMS) <= 2
    assert median_rank(PIXELS) > 20


def test_colour_is_seen() -> None:
    image = relit(np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8), np.random.default_rng(2))
    swapped = image[..., [2, 1, 0]]
    one, other = embed.embed_all(np.stack([image, swapped]), PIXELS)
    assert np.linalg.norm(one - other) > 0.1


def test_the_stage_writes_one_row_per_image_and_the_same_bytes_again(
    digits: np.ndarray, tmp_path: Path
) -> None:
    images = [(f"s{i}", encode_png(image)) for i, image in enumerate(digits[:20])]
    write_images(tmp_path / "images.parquet", images, 8, 1, "test")
    sides = {name: pa.array([8] * 20, pa.int32()) for name in ("width", "height")}
    write_table(tmp_path / "manifest.parquet", pa.table({"sample_id": [name for name, _ in images]} | sides))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    metrics = embed.run(PARAMS, ingest=tmp_path, out=tmp_path / "a")
    embed.run(PARAMS, ingest=tmp_path, out=tmp_path / "b")
    assert metrics["n"] == 20
    assert read_npy(tmp_path / "a" / "embeddings.npy").shape == (20, metrics["dimensions"])
    properties = read_table(tmp_path / "a" / "properties.parquet")
    assert properties["sample_id"].to_pylist() == [name for name, _ in images]
    assert properties["brightness"].to_pylist() == pytest.approx(digits[:20].mean((1, 2, 3)) / 255)
    assert len(read_npy(tmp_path / "a" / "mirror.npy")) == metrics["dimensions"]
    for name in ("embeddings.npy", "mirror.npy", "properties.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("shape", "descriptor"),
    [
        ((8, 8, 1), "hog"),
        ((32, 32, 3), "hog"),
        ((45, 45, 3), "hog"),
        ((7, 7, 3), "hog"),
        ((32, 32, 3), "pixels"),
    ],
)
def test_a_mirrored_image_is_described_by_the_same_numbers_in_other_places(
    shape: tuple[int, int, int], descriptor: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, *shape)).astype(np.uint8)
    params = PARAMS.model_copy(update={"descriptor": descriptor})
    columns = embed.mirrored(params, shape[0], shape[2])
    expected = embed.describe(pixels[:, :, ::-1], params)
    np.testing.assert_allclose(
        embed.describe(pixels, params)[:, columns], expected, atol=5e-4
    )  # roots of rounding


def test_images_of_another_manifest_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "images.parquet", [("a", encode_png(np.zeros((8, 8), np.uint8)))], 8, 1, "test")
    sides = {name: pa.array([8], pa.int32()) for name in ("width", "height")}
    write_table(tmp_path / "manifest.parquet", pa.table({"sample_id": ["b"]} | sides))
    with pytest.raises(InputError, match="different samples"):
        embed.run(PARAMS, ingest=tmp_path, out=tmp_path / "out")
