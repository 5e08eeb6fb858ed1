import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from bench.peak_memory import forget_peak, peak_mib
from stages.lib.decode import Decoded, Limits, decode, upright
from stages.lib.refusal import RefusalError
from stages.lib.signature import fits_extension

ROOT = Path(__file__).parents[2]
LIMITS = Limits(max_pixels=50_000_000, min_side=8, max_aspect=20)
WHITE = (255, 255, 255)
BLUE = (10, 20, 200)


def picture(height: int = 40, width: int = 50, seed: int = 0) -> np.ndarray:
    """Smooth colours with noise: compresses like a photograph, and no flip or turn leaves it as it was."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    base = np.stack([rows * 5 % 256, columns * 4 % 256, (rows + columns) * 2 % 256], axis=2)
    return np.clip(base + rng.integers(0, 8, base.shape), 0, 255).astype(np.uint8)


def encode(image: Image.Image | np.ndarray, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    ready = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    ready.save(buffer, image_format, **options)
    return buffer.getvalue()


def reason(data: bytes, limits: Limits = LIMITS) -> str:
    """The code of the refusal, which must come with a sentence that says what to do."""
    with pytest.raises(RefusalError) as caught:
        decode(data, limits, WHITE)
    assert ": " in caught.value.detail
    assert caught.value.detail.isprintable()
    return caught.value.reason


def pixels(data: bytes, background: tuple[int, int, int] = WHITE) -> np.ndarray:
    return decode(data, LIMITS, background).image


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header_only(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a few compressed zeros: what a decompression bomb begins with."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    parts = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", data), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# ---- golden pixels of each mode and format


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_colour_comes_back_exactly(image_format: str, options: dict[str, object]) -> None:
    decoded = decode(encode(picture(), image_format, **options), LIMITS, WHITE)
    np.testing.assert_array_equal(decoded.image, picture())
    assert (decoded.mode, decoded.format, decoded.findings) == ("RGB", image_format, ())


def test_a_jpeg_comes_back_near_its_original() -> None:
    decoded = decode(encode(picture(), "JPEG", quality=95, subsampling=0), LIMITS, WHITE)
    assert np.abs(decoded.image.astype(int) - picture()).mean() < 3
    assert decoded.format == "JPEG"


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF"])
def test_grey_stays_grey(image_format: str) -> None:
    grey = picture()[..., 0]
    np.testing.assert_array_equal(pixels(encode(grey, image_format)), grey)


def test_one_bit_images_become_black_and_white() -> None:
    bits = picture()[..., 0] > 90
    expected = np.where(bits, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(pixels(encode(Image.fromarray(bits), "PNG")), expected)


def test_a_palette_image_shows_its_colours() -> None:
    paletted = Image.fromarray(picture()).quantize(16)
    expected = np.asarray(paletted.convert("RGB"))
    np.testing.assert_array_equal(pixels(encode(paletted, "PNG")), expected)
    np.testing.assert_array_equal(pixels(encode(paletted, "GIF")), expected)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_I8_sixteen_bit_grey_is_scaled_not_saturated(image_format: str) -> None:
    values = np.array([[0, 128, 129, 257, 1000], [25700, 32767, 32768, 65406, 65535]], np.uint16).repeat(8, 0)
    expected = np.rint(values.astype(np.float64) * 255 / 65535).astype(np.uint8)
    got = decode(encode(values, image_format), Limits(1000, 1, 20), WHITE).image
    np.testing.assert_array_equal(got, expected)


def sixteen_bit_tiff(values: np.ndarray, order: str, photometric: int) -> bytes:
    """An uncompressed grey TIFF; order is > or <, photometric 0 (white is zero) or 1 (black is zero)."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, photometric), (273, 8 + 2 + 9 * 12 + 4)]
    tags += [(277, 1), (278, height), (279, values.size * 2)]
    header = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8)
    entries = b"".join(struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    return header + directory + values.astype(f"{order}u2").tobytes()


def test_I8_sixteen_bit_tiffs_are_read_alike_in_each_byte_order_and_polarity() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    values = grey.astype(np.uint16) * 257
    np.testing.assert_array_equal(pixels(sixteen_bit_tiff(values, ">", 1)), grey)
    np.testing.assert_array_equal(pixels(sixteen_bit_tiff(values, "<", 1)), grey)
    np.testing.assert_array_equal(pixels(sixteen_bit_tiff(values, "<", 0)), 255 - grey)


def test_sixteen_bit_grey_shows_the_background_where_it_is_transparent() -> None:
    values = np.full((8, 8), 257 * 100, np.uint16)
    values[0] = 5
    data = encode(values, "PNG", transparency=5)
    assert pixels(data)[0].tolist() == [255] * 8
    assert pixels(data)[1:].tolist() == [[100] * 8] * 7
    assert pixels(data, BLUE)[0].tolist() == [list(BLUE)] * 8


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_I9_pixels_without_a_fixed_range_are_refused(dtype: type) -> None:
    values = np.full((20, 20), 3, dtype)
    assert reason(encode(values, "TIFF")) == "bit_depth"


def test_I9_a_tiff_full_of_nan_is_refused() -> None:
    assert reason(encode(np.full((20, 20), np.nan, np.float32), "TIFF")) == "bit_depth"


def test_a_lab_image_is_refused_by_its_mode() -> None:
    lab = Image.merge("LAB", [Image.new("L", (20, 20), 100)] * 3)
    assert reason(encode(lab, "TIFF")) == "mode_not_supported"


@pytest.mark.parametrize("background", [WHITE, BLUE])
def test_I10_alpha_is_laid_on_the_declared_background(background: tuple[int, int, int]) -> None:
    rgba = np.full((12, 12, 4), (200, 100, 0, 255), np.uint8)
    rgba[:4, :, 3] = 0
    rgba[4:8, :, 3] = 128
    got = pixels(encode(rgba, "PNG"), background)
    assert got.shape == (12, 12, 3)
    assert got[0, 0].tolist() == list(background)
    assert got[-1, 0].tolist() == [200, 100, 0]
    half = np.array([200, 100, 0]) * (128 / 255) + np.array(background) * (127 / 255)
    assert np.abs(got[5, 0] - half).max() <= 1


def test_I10_grey_with_alpha_stays_grey_on_grey_and_turns_to_colour_on_colour() -> None:
    la = np.full((12, 12, 2), (40, 255), np.uint8)
    la[:6, :, 1] = 0
    data = encode(Image.fromarray(la, "LA"), "PNG")
    np.testing.assert_array_equal(
        pixels(data), np.repeat([255, 40], 6).astype(np.uint8)[:, None].repeat(12, 1)
    )
    assert pixels(data, BLUE)[0, 0].tolist() == list(BLUE)
    assert pixels(data, BLUE)[-1, 0].tolist() == [40, 40, 40]


def test_I10_a_palette_with_transparency_is_laid_on_the_background() -> None:
    indices = Image.fromarray(np.arange(4, dtype=np.uint8).repeat(3)[:, None].repeat(12, 1), "P")
    indices.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    data = encode(indices, "PNG", transparency=bytes([255, 0, 128, 255]))
    decoded = decode(data, LIMITS, BLUE)
    assert decoded.findings == ("transparency",)
    assert decoded.image[0, 0].tolist() == [255, 0, 0]
    assert decoded.image[3, 0].tolist() == list(BLUE)
    assert np.abs(decoded.image[6, 0].astype(int) - [5, 10, 228]).max() <= 1
    assert decode(data, LIMITS, BLUE).image.tobytes() == decoded.image.tobytes()


@pytest.mark.parametrize(("mode", "key", "colour"), [("L", 7, [7]), ("RGB", (7, 8, 9), [7, 8, 9])])
def test_I10_a_transparent_colour_shows_the_background(mode: str, key: object, colour: list[int]) -> None:
    image = Image.new(mode, (10, 10), 50 if mode == "L" else (50, 60, 70))
    image.paste(tuple(colour) if len(colour) > 1 else colour[0], (0, 0, 10, 5))
    got = pixels(encode(image, "PNG", transparency=key))
    assert np.all(got[0] == 255)
    assert np.all(got[-1] == (50 if mode == "L" else [50, 60, 70]))


def cmyk(*values: int) -> Image.Image:
    return Image.new("CMYK", (16, 16), values)


def rgb_of(c: int, m: int, y: int, k: int) -> np.ndarray:
    """The declared rule."""
    return np.rint((255 - np.array([c, m, y])) * (255 - k) / 255)


@pytest.mark.parametrize("ink", [(0, 0, 0, 0), (255, 0, 0, 0), (10, 200, 90, 40), (0, 0, 0, 255)])
def test_I7_cmyk_follows_the_declared_rule(ink: tuple[int, int, int, int]) -> None:
    for data in (encode(cmyk(*ink), "TIFF"), encode(cmyk(*ink), "JPEG", quality=100)):
        decoded = decode(data, LIMITS, WHITE)
        assert decoded.mode == "CMYK"
        assert np.abs(decoded.image - rgb_of(*ink)).max() <= 2


def adobe_marker(transform: int) -> bytes:
    return b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


def test_I7_a_cmyk_jpeg_without_adobes_marker_is_not_inverted() -> None:
    data = encode(cmyk(10, 200, 90, 40), "JPEG", quality=100)
    assert adobe_marker(0) in data
    plain = data.replace(adobe_marker(0), b"")
    # The same coded numbers now mean ink as it is, and Pillow had stored 255 minus the ink.
    assert np.abs(pixels(plain) - rgb_of(245, 55, 165, 215)).max() <= 2


def test_I7_a_ycck_jpeg_is_turned_to_inks_first() -> None:
    # Stored numbers Y = 200, Cb = Cr = 128, K = 255 - 30. Adobe's YCC of ink is that of R = ink: grey, 200.
    data = encode(cmyk(255 - 200, 127, 127, 30), "JPEG", quality=100)
    ycck = data.replace(adobe_marker(0), adobe_marker(2))
    assert np.abs(pixels(ycck) - rgb_of(200, 200, 200, 30)).max() <= 2


# ---- orientation


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_I12_all_eight_orientations_land_upright(image_format: str, orientation: int) -> None:
    original = Image.fromarray(picture())
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    lying = original.transpose(undo[orientation]) if orientation in undo else original
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"lossless": True} if image_format == "WEBP" else {}
    decoded = decode(encode(lying, image_format, exif=exif, **options), LIMITS, WHITE)
    assert decoded.image.shape == picture().shape
    if image_format == "JPEG":
        assert np.abs(decoded.image.astype(int) - picture()).mean() < 12
    else:
        np.testing.assert_array_equal(decoded.image, picture())


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_I12_an_invalid_orientation_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    np.testing.assert_array_equal(pixels(encode(picture(), "PNG", exif=exif)), picture())


def test_turning_upright_four_quarters_is_no_turn() -> None:
    turned = picture()
    for _ in range(4):
        turned = upright(turned, 6)
    np.testing.assert_array_equal(turned, picture())
    np.testing.assert_array_equal(upright(upright(picture(), 6), 8), picture())


def test_I30_broken_exif_is_a_finding_not_a_loss() -> None:
    data = encode(
        picture(), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\xff\xff\xff\xff\xff\xff"
    )
    decoded = decode(data, LIMITS, WHITE)
    np.testing.assert_array_equal(decoded.image, picture())
    assert set(decoded.findings) <= {"exif_unreadable", "decoder_warning"}
    assert decoded.findings


# ---- refusals


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_I1_truncated_jpeg_is_refused(mode: str, progressive: bool, flat: bool) -> None:
    content = np.full((64, 64, 3), 77, np.uint8) if flat else picture(64, 64)
    data = encode(Image.fromarray(content).convert(mode), "JPEG", progressive=progressive)
    assert decode(data, LIMITS, WHITE).image.size
    for cut in (1, 2, 20, len(data) // 2, len(data) - 20):
        assert reason(data[:-cut]) == "truncated", cut


def test_I1_what_follows_a_jpegs_end_does_not_matter() -> None:
    film = b"\0\0\0\x18ftypmp42" + b"\xff\xda\xff\xc0" * 50
    assert decode(encode(picture(), "JPEG") + film, LIMITS, WHITE).findings == ()


def test_I2_truncated_png_and_png_without_end_are_refused() -> None:
    data = encode(picture(), "PNG")
    for cut in (2, 12, 20, len(data) // 2):
        assert reason(data[:-cut]) == "truncated", cut


def test_I2_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(encode(picture(), "PNG"))
    data[data.index(b"IDAT") - 5] ^= 1
    assert reason(bytes(data)) in {"corrupt", "truncated"}


@pytest.mark.parametrize(
    ("image_format", "cuts"), [("GIF", (20, 300)), ("WEBP", (2, 20)), ("TIFF", (2, 20, 3000))]
)
def test_other_truncated_formats_are_refused(image_format: str, cuts: tuple[int, ...]) -> None:
    data = encode(picture(), image_format)
    for cut in cuts:
        assert reason(data[:-cut]) == "truncated", cut


def test_a_compressed_tiff_cut_before_its_directory_is_refused() -> None:
    data = encode(picture(), "TIFF", compression="tiff_lzw")
    assert reason(data[:-20]) in {"truncated", "corrupt"}


def test_I3_an_empty_file_is_refused() -> None:
    assert reason(b"") == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html>403</html>",
        b"hello",
        b'{"a": 1}',
        b"\0" * 100,
        b"\x1b[2J\x07evil",
        b"PK\x03\x04zip",
    ],
)
def test_I4_what_is_no_image_is_refused(data: bytes) -> None:
    assert reason(data) == "not_an_image"


def test_I4_a_git_lfs_pointer_gets_its_own_hint() -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    with pytest.raises(RefusalError, match="run git lfs pull"):
        decode(pointer, LIMITS, WHITE)


@pytest.mark.parametrize(
    ("name", "image_format", "fits"),
    [
        ("a/b.jpg", "JPEG", True),
        ("b.JPEG", "JPEG", True),
        ("b.jpg", "PNG", False),
        ("folder.png/noending", "JPEG", True),
        ("b.dat", "PNG", False),
    ],
)
def test_I5_an_ending_fits_its_format(name: str, image_format: str, fits: bool) -> None:
    assert fits_extension(name, image_format) is fits


@pytest.mark.parametrize(
    "start", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"%PDF-1.7\n", b"8BPS\0\1"]
)
def test_I6_documents_are_refused(start: bytes) -> None:
    assert reason(start + b"\0" * 200) == "format_not_allowed"


def test_I6_ghostscript_is_never_started(tmp_path: Path) -> None:
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    (tmp_path / "gs").chmod(0o755)
    code = (
        "from stages.lib.decode import *; from stages.lib.refusal import RefusalError\n"
        "eps = b'%!PS-Adobe-3.0 EPSF-3.0\\n%%BoundingBox: 0 0 99 99\\n%%EndComments\\nshowpage\\n%%EOF\\n'\n"
        "try: decode(eps, Limits(10**6, 1, 20), (0, 0, 0))\n"
        "except RefusalError as error: print(error.reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "format_not_allowed\n"
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b'<?xml version="1.0"?>\n<svg onload="x"><script>alert(1)</script></svg>', "SVG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "pillow-heif"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0" * 128 + b"DICM", "DICOM"),
    ],
)
def test_I18_other_image_formats_are_refused_by_name(data: bytes, named: str) -> None:
    assert reason(data) == "format_not_supported"
    with pytest.raises(RefusalError, match=named):
        decode(data, LIMITS, WHITE)


def test_I18_a_real_avif_is_refused_though_pillow_can_read_it() -> None:
    assert reason(encode(picture(64, 64), "AVIF")) == "format_not_supported"


def apng() -> bytes:
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(5)]
    return encode(frames[0], "PNG", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_I11_of_several_frames_the_first_is_taken(image_format: str) -> None:
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(5)]
    options: dict[str, object] = {"lossless": True} if image_format == "WEBP" else {}
    data = encode(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    decoded = decode(data, LIMITS, WHITE)
    assert "multi_frame" in decoded.findings
    if image_format != "GIF":
        np.testing.assert_array_equal(decoded.image, picture(seed=0))


def test_I11_a_phones_mpo_is_a_jpeg_with_frames() -> None:
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(2)]
    decoded = decode(encode(frames[0], "MPO", save_all=True, append_images=frames[1:]), LIMITS, WHITE)
    assert (decoded.format, decoded.findings) == ("JPEG", ("multi_frame",))


@pytest.mark.parametrize(
    ("width", "height", "code"), [(1, 1, "too_small"), (60000, 1, "too_small"), (900, 10, "aspect")]
)
def test_I13_tiny_and_long_images_are_refused(width: int, height: int, code: str) -> None:
    assert reason(encode(Image.new("L", (width, height)), "PNG")) == code


@pytest.mark.parametrize("side", [30000, 13000, 9400])
def test_I14_I15_a_bomb_is_refused_by_its_header(side: int) -> None:
    data = png_header_only(side, side)
    before = forget_peak()
    started = time.process_time()
    assert reason(data) == "too_many_pixels"
    assert time.process_time() - started < 0.1
    assert peak_mib() - before < 50


def test_I14_a_webp_bomb_is_refused_by_its_header() -> None:
    data = bytearray(encode(np.zeros((16, 16, 3), np.uint8), "WEBP", lossless=True))
    sides = data.index(b"VP8L") + 9  # 14 bits each of width - 1 and height - 1
    data[sides : sides + 4] = (11999 | 11999 << 14).to_bytes(4, "little")
    assert reason(bytes(data)) == "too_many_pixels"


def bomb(kind: bytes, prefix: bytes) -> bytes:
    packed = zlib.compress(b"\0" * 200_000_000, 9)
    data = encode(picture(), "PNG")
    return data[:33] + png_chunk(kind, prefix + packed) + data[33:]


@pytest.mark.parametrize(
    ("kind", "prefix"), [(b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")]
)
def test_I16_compressed_metadata_bombs_are_refused(kind: bytes, prefix: bytes) -> None:
    data = bomb(kind, prefix)
    assert len(data) < 300_000
    before = forget_peak()
    assert reason(data) == "metadata_too_large"
    assert peak_mib() - before < 50


def test_I16_plain_metadata_of_many_megabytes_is_refused() -> None:
    data = encode(picture(), "PNG")
    heavy = data[:33] + png_chunk(b"eXIf", b"MM\0*" + b"\0" * 17_000_000) + data[33:]
    assert reason(heavy) == "metadata_too_large"


def test_ordinary_text_and_profiles_are_no_reason_to_refuse() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "<script>alert(1)</script>" * 100, zip=True)
    assert (
        decode(encode(picture(), "PNG", pnginfo=info, icc_profile=b"p" * 3000), LIMITS, WHITE).findings == ()
    )


# ---- laws

_WHOLE = [
    encode(picture(), "JPEG"),
    encode(picture(), "PNG"),
    encode(picture(), "BMP"),
    encode(picture(), "TIFF", compression="tiff_lzw"),
    encode(picture(), "WEBP"),
    encode(picture(), "GIF"),
    encode(Image.fromarray(picture()).convert("CMYK"), "JPEG"),
    apng(),
]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_damaged_bytes_give_an_image_or_a_refusal_and_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(_WHOLE)))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    kept = bytes(damaged[: data.draw(st.integers(len(damaged) // 2, len(damaged)))])
    try:
        decoded = decode(kept, LIMITS, WHITE)
    except RefusalError:
        return
    assert isinstance(decoded, Decoded)
    assert decoded.image.dtype == np.uint8
    assert decoded.image.shape[2:] in {(), (3,)}


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RefusalError):
        decode(data, LIMITS, WHITE)
