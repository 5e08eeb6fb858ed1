"""Pictures for a page: stored PNGs of a few samples as data URIs, large ones made smaller and into JPEG.

What is inlined are the PNGs that `ingest` encoded: pixels only, none of the user's bytes or metadata.
"""

import base64
import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from stages.lib.image_store import FILE

THUMBNAIL = 96
"""Longest side in pixels of an inlined picture: sharp enough at the size shown."""

JPEG_QUALITY = 88
KEPT_BYTES = 6144
"""A photograph of 96 pixels takes 18 kB as PNG and 4 as JPEG, and a page shows 200; small ones stay exact."""


def stored_pngs(ingest: Path, sample_ids: Collection[str]) -> dict[str, bytes]:
    """Return the encoded images of these samples; only row groups that hold one are read."""
    wanted = set(sample_ids)
    found: dict[str, bytes] = {}
    with pq.ParquetFile(ingest / FILE) as store:
        for group in range(store.num_row_groups):
            ids = store.read_row_group(group, columns=["sample_id"])["sample_id"].to_pylist()
            rows = [(row, sample_id) for row, sample_id in enumerate(ids) if sample_id in wanted]
            if rows:
                images = store.read_row_group(group, columns=["image"])["image"]
                found |= {sample_id: images[row].as_py() for row, sample_id in rows}
    return found


def picture_uri(encoded: bytes, kind: str = "png") -> str:
    """Return a data URI of an encoded picture."""
    return f"data:image/{kind};base64," + base64.b64encode(encoded).decode("ascii")


def thumbnail_uri(encoded: bytes, side: int = THUMBNAIL) -> str:
    """Return a data URI of the PNG itself where it is within `side` and KEPT_BYTES, else of a JPEG."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded), formats=["PNG"]) as image:
        if max(image.size) <= side and len(encoded) <= KEPT_BYTES:
            return picture_uri(encoded)
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=JPEG_QUALITY, optimize=True)
    return picture_uri(buffer.getvalue(), "jpeg")


@dataclass(frozen=True)
class Picture:
    """What a page needs to show one image: a data URI, and whether it is so small that it is enlarged."""

    uri: str
    tiny: bool


def pictures(ingest: Path, sample_ids: Collection[str]) -> dict[str, Picture]:
    """Return the pictures of these samples by sample_id."""
    return {
        sample_id: Picture(thumbnail_uri(encoded), png_width(encoded) < THUMBNAIL)
        for sample_id, encoded in stored_pngs(ingest, sample_ids).items()
    }


def png_width(encoded: bytes) -> int:
    """Return the width in pixels that a PNG's header states (bytes 16 to 19, PNG specification 11.2.2)."""
    return int.from_bytes(encoded[16:20], "big")
