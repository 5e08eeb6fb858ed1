"""Tables of small pictures, as users bring them: CSV beside files, or Parquet with the bytes inside."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.folder_fixture import stripes


def picture(number: int, size: int = 16, file_format: str = "PNG") -> bytes:
    """Encode one picture of its own."""
    pixels = stripes(np.random.default_rng([7, number]), number % 3, 3, size)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format)
    return buffer.getvalue()


def write_files(folder: Path, names: Sequence[str]) -> None:
    """Write a picture under each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number, file_format="JPEG" if name.endswith(".jpg") else "PNG"))


def write_csv_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """Write a CSV table; give its path."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def write_parquet_table(path: Path, columns: dict[str, Any], n: int | None = None, **options: Any) -> Path:
    """Write a Parquet table with an `image` column of n pictures as struct<bytes, path>; give its path."""
    images = [{"bytes": picture(number), "path": None} for number in range(n or 0)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = {"image": pa.array(images, kind)} if n is not None else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(image | columns), path, **options)
    return path
