import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stages.lib.ending import has_sound_chunks, is_cut


def encode(image_format: str, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (33, 47, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, image_format, **options)
    return buffer.getvalue()


WHOLE = {
    "JPEG": [encode("JPEG"), encode("JPEG", progressive=True), encode("JPEG", restart_marker_blocks=1)],
    "PNG": [encode("PNG")],
    "WEBP": [encode("WEBP"), encode("WEBP", lossless=True)],
}
CASES = [(name, data) for name, files in WHOLE.items() for data in files]


@pytest.mark.parametrize(("image_format", "data"), CASES, ids=str)
def test_a_whole_file_is_not_cut_whatever_follows_it(image_format: str, data: bytes) -> None:
    assert not is_cut(data, image_format)
    assert not is_cut(data + b"\xff\xda trailing \xff\xc0", image_format)


@given(case=st.sampled_from(CASES), share=st.floats(0, 1, exclude_max=True))
def test_every_beginning_of_a_file_is_cut(case: tuple[str, bytes], share: float) -> None:
    image_format, data = case
    assert is_cut(data[: int(share * len(data))], image_format)


def test_a_thumbnail_inside_a_jpeg_is_not_its_end() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    data = encode("JPEG", exif=exif.tobytes() + encode("JPEG", quality=10))
    assert not is_cut(data, "JPEG")
    assert is_cut(data[:-2], "JPEG")


@given(place=st.integers(8, len(WHOLE["PNG"][0]) - 1), bit=st.integers(0, 7))
def test_I2_no_changed_bit_leaves_a_png_with_sound_chunks(place: int, bit: int) -> None:
    (whole,) = WHOLE["PNG"]
    changed = bytearray(whole)
    changed[place] ^= 1 << bit
    assert has_sound_chunks(whole)
    assert has_sound_chunks(whole + b"what follows does not matter")
    assert not has_sound_chunks(bytes(changed))


@given(share=st.floats(0, 1, exclude_max=True))
def test_I2_a_png_that_was_cut_has_no_sound_chunks(share: float) -> None:
    (whole,) = WHOLE["PNG"]
    assert not has_sound_chunks(whole[: int(share * len(whole))])
