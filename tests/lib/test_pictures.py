import base64
import io

import numpy as np
from PIL import Image

from stages.lib.image_store import encode_png
from stages.lib.pictures import THUMBNAIL, thumbnail_uri


def opened(uri):
    kind, content = uri.removeprefix("data:image/").split(";base64,")
    return kind, Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_small_picture_stays_the_png_that_it_is():
    encoded = encode_png(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    assert thumbnail_uri(encoded).endswith(base64.b64encode(encoded).decode())


def test_what_takes_many_bytes_becomes_a_jpeg_no_larger_than_it_is_shown():
    light = np.linspace(40, 200, 300)[:, None, None] * np.ones((1, 400, 3))
    grain = np.random.default_rng(0).normal(0, 12, (300, 400, 3))
    photograph = encode_png((light + grain).clip(0, 255).astype(np.uint8))
    kind, shown = opened(thumbnail_uri(photograph))
    assert (kind, max(shown.size)) == ("jpeg", THUMBNAIL)
    assert abs(np.asarray(shown, float).mean() - light.mean()) < 2
    assert len(thumbnail_uri(photograph)) < 12_000


def test_the_same_picture_gives_the_same_bytes():
    grey = encode_png(np.random.default_rng(0).integers(0, 256, (200, 120, 1), dtype=np.uint8))
    assert thumbnail_uri(grey) == thumbnail_uri(grey)
    assert opened(thumbnail_uri(grey))[1].mode == "L"
