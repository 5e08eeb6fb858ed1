"""What ingest and embed leave of given pictures, for the stages that look at embeddings."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from stages import embed
from stages.lib.artifacts import write_npy, write_table
from stages.lib.config import load_section
from stages.lib.image_store import encode_png, write_images

EMBED = load_section(embed.Params, "embed")


def write_embedded(folder: Path, pixels: np.ndarray, labels: list[str | None]) -> None:
    """Write pixels (N, S, S, C) uint8 with their labels and embeddings into one folder."""
    ids = [f"s{i:04}" for i in range(len(pixels))]
    images = list(zip(ids, (encode_png(image) for image in pixels), strict=True))
    write_images(folder / "images.parquet", images, pixels.shape[1], pixels.shape[3], "test")
    write_table(
        folder / "manifest.parquet", pa.table({"sample_id": ids, "label": pa.array(labels, pa.string())})
    )
    write_npy(folder / "embeddings.npy", embed.embed_all(pixels, EMBED))
