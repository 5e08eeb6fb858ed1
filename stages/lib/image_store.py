"""The image store `images.parquet`: every accepted image once, upright and converted, as lossless PNG.

One Parquet file, because DVC pays per file; row groups, so that a million images stream through bounded
memory. Hostile decoders have run once, in `ingest`: what is read here is PNG that we wrote.
The file's metadata carry the facts that readers need: image size, channels, and a digest of the content
that names the cache of decoded pixels.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.lib.artifacts import atomic, read_npy, write_npy
from stages.lib.errors import InputError
from stages.lib.state import state_folder

FILE = "images.parquet"
ROW_GROUP = 1024
"""Images in a row group: small enough to stream, large enough that Parquet's overhead vanishes."""

ROW_GROUP_BYTES = 16 * 2**20
"""Encoded bytes in a row group at most, whatever the images' size: what `ingest` holds in memory."""

FILTERED_FROM_BYTES = 1024
"""Below this many bytes of pixels a PNG's row filters gain nothing, and Pillow's encoder costs 25 µs an image
where plain zlib costs 6: half a minute for a million icons."""

CACHE_FROM_BYTES = 32 * 2**20
"""Decoded pixels are kept in the cache from this size on: below it, decoding takes under a second."""


@dataclass(frozen=True)
class Pixels:
    """Decoded images in manifest order; `array` is (N, H, W, C) uint8, H = W, C = 1 (grey) or 3 (RGB)."""

    sample_ids: tuple[str, ...]
    array: np.ndarray


def write_images(
    path: Path, images: Iterable[tuple[str, bytes]], image_size: int, channels: int, digest: str
) -> None:
    """Stream (sample_id, PNG bytes) pairs into the store; `digest` names the content, for the cache."""
    facts = {"image_size": str(image_size), "channels": str(channels), "digest": digest}
    schema = pa.schema([("sample_id", pa.string()), ("image", pa.binary())], metadata=facts)
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema, compression="none") as writer:
        for rows in _batches(images):
            ids, encoded = zip(*rows, strict=True)
            writer.write_table(pa.table([pa.array(ids), pa.array(encoded, pa.binary())], schema=schema))


def _batches(images: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    rows: list[tuple[str, bytes]] = []
    size = 0
    for row in images:
        rows.append(row)
        size += len(row[1])
        if len(rows) == ROW_GROUP or size >= ROW_GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def read_pixels(ingest: Path) -> Pixels:
    """Decode the whole store, or map the decoded cache of an earlier stage."""
    with pq.ParquetFile(ingest / FILE) as store:
        facts = {key.decode(): value.decode() for key, value in (store.schema_arrow.metadata or {}).items()}
        ids = tuple(store.read(columns=["sample_id"])["sample_id"].to_pylist())
        shape = (len(ids), int(facts["image_size"]), int(facts["image_size"]), int(facts["channels"]))
        if int(np.prod(shape)) < CACHE_FROM_BYTES:
            return Pixels(ids, _decode_all(store, shape))
        cached = state_folder() / "pixels" / f"{facts['digest']}.npy"
        if not cached.exists():
            write_npy(cached, _decode_all(store, shape))
    return Pixels(ids, read_npy(cached, mmap=True))


def _decode_all(store: pq.ParquetFile, shape: tuple[int, int, int, int]) -> np.ndarray:
    array = np.empty(shape, np.uint8)
    position = 0
    for batch in store.iter_batches(ROW_GROUP, columns=["image"]):
        for encoded in batch.column(0):
            array[position] = decode_png(encoded.as_py(), channels=shape[3])
            position += 1
    return array


def decode_png(encoded: bytes, channels: int) -> np.ndarray:
    """Decode one stored PNG to (H, W, C) uint8; a grey image in a colour store is repeated over RGB."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded), formats=["PNG"]) as image:
        mode = "L" if channels == 1 else "RGB"
        if channels == 1 and image.mode != "L":
            raise InputError(f"{FILE} says grey but holds a {image.mode} image: run `dvc repro -f ingest`")
        pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], channels)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode (H, W) or (H, W, 1) grey or (H, W, 3) RGB uint8 as PNG, the same bytes each time."""
    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    if flat.size < FILTERED_FROM_BYTES:
        return _encode_unfiltered(flat)
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(flat).save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def _encode_unfiltered(pixels: np.ndarray) -> bytes:
    """Encode (H, W) or (H, W, 3) uint8 as PNG whose rows are not filtered (PNG, second edition)."""
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels[0].size), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
