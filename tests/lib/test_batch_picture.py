from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages.lib.batch_picture import CAPTION, TILE, draw_batch


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_has_a_tile_and_a_caption(tmp_path: Path, channels: int) -> None:
    images = np.full((11, 8, 8, channels), 200, np.uint8)
    captions = ["$x$ <script>", "猫 und\tHund\n", "a very long name of a class", *"abcdefgh"]
    draw_batch(tmp_path / "one.png", images, captions)
    draw_batch(tmp_path / "two.png", images, captions)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as sheet:
        assert sheet.size == (8 * TILE, 2 * (TILE + CAPTION))
        assert sheet.getpixel((TILE // 2, TILE // 2)) == (200, 200, 200)
        assert sheet.getpixel((5 * TILE, TILE + CAPTION + TILE // 2)) == (255, 255, 255)
        strip = np.asarray(sheet)[TILE : TILE + CAPTION]
    assert (strip < 128).any()
