"""Draw images with a caption each as one picture: what the network sees, for a person to look at."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.lib.artifacts import atomic

COLUMNS = 8
TILE = 96
CAPTION = 18
MOST_LETTERS = 14


def draw_batch(path: Path, images: np.ndarray, captions: Sequence[str]) -> None:
    """Write images (N, H, W, C) uint8 as a sheet of tiles (PNG), each with its caption under it.

    Captions are drawn as plain text, never parsed; letters the built-in font lacks show as boxes.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + CAPTION)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for position, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = position % COLUMNS * TILE, position // COLUMNS * (TILE + CAPTION)
        tile = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        scaled = tile.convert("RGB").resize((TILE - 4, TILE - 4), Image.Resampling.NEAREST)
        sheet.paste(scaled, (left + 2, top + 2))
        pen.text((left + 4, top + TILE), _printable(caption), fill="black", font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    with atomic(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _printable(text: str) -> str:
    kept = "".join(letter if letter.isprintable() else "?" for letter in text)
    return kept if len(kept) <= MOST_LETTERS else kept[: MOST_LETTERS - 1] + "…"
