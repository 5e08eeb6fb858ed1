"""Decode one hostile file to upright 8-bit pixels, by declared rules, or say why not.

A pure function of bytes. Rules, the same for every image:
- Only JPEG, PNG, BMP, TIFF, WebP and GIF are opened; the header's size is judged before any pixel is decoded.
- A PNG's checksums and a full `load` must both pass, and the file's own end must be there: half a JPEG passes
  Pillow's `verify` (which looks at PNG alone), a PNG without its end passes `load`.
- Grey stays grey. 16-bit grey is divided by 257 (65535 → 255). CMYK is R = (255 − C)(255 − K) / 255, likewise
  G and B, without colour management; JPEGs with Adobe's marker hold it inverted, those without do not.
- Transparency is laid on the background colour. Of several frames the first is taken. EXIF orientation is
  applied.

Cost: a 12-megapixel JPEG takes about 0.2 CPU seconds. Called in worker processes: see `decode_pool`.
"""

import io
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stages.lib.ending import has_sound_chunks, is_cut
from stages.lib.refusal import RefusalError
from stages.lib.signature import ALLOWED, allowed_format, refuse_unknown

if TYPE_CHECKING:
    from PIL import Image

PILLOW_MAX_PIXELS = 178_956_970
"""Pillow refuses images above this by itself (2 × Image.MAX_IMAGE_PIXELS): no own limit can be higher."""

MAX_METADATA_BYTES = 16 * 2**20
"""Text, EXIF and colour profiles of photographs stay under 1 MiB; 16 leaves room for scientific TIFFs."""

_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
)
"""What Pillow's readers raise on damaged bytes; anything else ends the worker and is a `decoder_crash`."""

_ORIENTATION_TAG = 0x112
_BITS_PER_SAMPLE_TAG = 258
_PHOTOMETRIC_TAG = 262
_WHITE_IS_ZERO = 0


@dataclass(frozen=True)
class Limits:
    """What a picture may measure: pixels in all, pixels of the shorter side, longer side over shorter."""

    max_pixels: int
    min_side: int
    max_aspect: float


@dataclass(frozen=True)
class Decoded:
    """Upright pixels, (H, W) grey or (H, W, 3) RGB uint8, with what the file was before."""

    image: np.ndarray
    mode: str
    format: str
    findings: tuple[str, ...]


def decode(data: bytes, limits: Limits, background: tuple[int, int, int]) -> Decoded:
    """Decode a file's bytes; raises RefusalError with a reason code where they cannot be trusted."""
    from PIL import Image

    if not data:
        raise RefusalError("empty", "the file has no bytes: copy or download it again")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            decoded = _decode(data, limits, background)
        except Image.DecompressionBombError as error:
            raise RefusalError("too_many_pixels", f"{error}: shrink the image") from error
        except _DECODER_ERRORS as error:
            raise _explain(data, error, warned) from error
    if any("runcated" in str(warning.message) for warning in warned):
        raise _truncated("the decoder warned that bytes are missing")
    if warned:
        return Decoded(decoded.image, decoded.mode, decoded.format, (*decoded.findings, "decoder_warning"))
    return decoded


def _decode(data: bytes, limits: Limits, background: tuple[int, int, int]) -> Decoded:
    with _open(data) as image:
        _check_header(image, limits)
        _check_metadata(image)
        file_format = _format(image)
        is_sound = file_format != "PNG" or has_sound_chunks(data)
        if not is_sound:
            image.verify()
        if is_cut(data, file_format):
            raise _truncated(f"the end of the {file_format} is missing")
        if is_sound:
            return _loaded(image, file_format, limits, background)
    with _open(data) as image:  # Pillow's verify closes what it was called on
        return _loaded(image, file_format, limits, background)


def _loaded(
    image: "Image.Image", file_format: str, limits: Limits, background: tuple[int, int, int]
) -> Decoded:
    findings = ["multi_frame"] if getattr(image, "is_animated", False) else []
    mode = image.mode
    image.load()
    _check_header(image, limits)
    _check_metadata(image)
    if image.has_transparency_data:
        findings.append("transparency")
    pixels = _to_pixels(image, background)
    orientation = _orientation(image, findings)
    return Decoded(upright(pixels, orientation), mode, file_format, tuple(findings))


def _open(data: bytes) -> "Image.Image":
    from PIL import Image

    return Image.open(io.BytesIO(data), formats=ALLOWED)


def _format(image: "Image.Image") -> str:
    """Name the file's format; an MPO is a JPEG with further pictures behind the first."""
    return "JPEG" if image.format == "MPO" else str(image.format)


def _check_header(image: "Image.Image", limits: Limits) -> None:
    width, height = image.size
    shorter, longer = min(width, height), max(width, height)
    seen = f"{width} × {height} pixels"
    if width * height > limits.max_pixels:
        bound = f"ingest.max_pixels is {limits.max_pixels}"
        raise RefusalError("too_many_pixels", f"{seen}, {bound}: shrink the image or raise the limit")
    if shorter < limits.min_side:
        bound = f"ingest.min_side is {limits.min_side}"
        raise RefusalError("too_small", f"{seen}, {bound}: use a larger image or lower the limit")
    if longer > limits.max_aspect * shorter:
        bound = f"ingest.max_aspect is {limits.max_aspect:g}"
        raise RefusalError("aspect", f"{seen}, {bound}: crop the image or raise the limit")


def _check_metadata(image: "Image.Image") -> None:
    size = sum(len(value) for value in image.info.values() if isinstance(value, bytes | str))
    if size > MAX_METADATA_BYTES:
        raise _metadata_too_large(f"{size} bytes beside the pixels")


def _truncated(detail: str) -> RefusalError:
    return RefusalError("truncated", f"{detail}: copy or download the file again")


def _metadata_too_large(detail: str) -> RefusalError:
    return RefusalError(
        "metadata_too_large", f"{detail}: save the image again without its text, EXIF and colour profile"
    )


def _explain(data: bytes, error: Exception, warned: Sequence[warnings.WarningMessage]) -> RefusalError:
    """Put a decoder's exception into a reason code and a sentence."""
    from PIL import UnidentifiedImageError

    said = "; ".join([str(error), *(str(warning.message) for warning in warned)])
    if "MAX_TEXT" in said:
        return _metadata_too_large("compressed text or a colour profile that unpacks beyond Pillow's limit")
    announced = allowed_format(data)
    if announced is None:
        return refuse_unknown(data)
    if "runcated" in said or isinstance(error, EOFError) or is_cut(data, announced):
        return _truncated(f"{announced} data end early")
    if isinstance(error, UnidentifiedImageError):
        said = f"it begins as {announced} but its header or pixel layout cannot be read"
    return RefusalError("corrupt", f"{said}: open it in an image program and save it again, or remove it")


def _to_pixels(image: "Image.Image", background: tuple[int, int, int]) -> np.ndarray:
    """Convert a loaded image of any supported mode to (H, W) or (H, W, 3) uint8."""
    if image.mode.startswith("I;16"):
        return _from_16_bit(image, background)
    if image.mode in ("I", "F"):
        raise RefusalError(
            "bit_depth", f"pixels of mode {image.mode} have no fixed range: save as 8- or 16-bit"
        )
    if image.has_transparency_data:
        return _on_background(image, background)
    if image.mode in ("1", "L"):
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    if image.mode == "CMYK":
        return _from_cmyk(image)
    if image.mode in ("P", "RGB", "RGBX", "YCbCr"):
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    raise RefusalError("mode_not_supported", f"colour mode {image.mode}: save the image as RGB or greyscale")


def _from_16_bit(image: "Image.Image", background: tuple[int, int, int]) -> np.ndarray:
    """Scale 16-bit grey by 1/257 to the nearest of 0 … 255 (`convert` would saturate at 255)."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_BITS_PER_SAMPLE_TAG, (16,)) != (16,):
        raise RefusalError("bit_depth", f"{tags[_BITS_PER_SAMPLE_TAG]} bits a pixel: save as 8- or 16-bit")
    values = np.asarray(image).astype(np.uint32)
    grey = ((values + 128) // 257).astype(np.uint8)
    if tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return grey
    if len(set(background)) == 1:
        return np.where(values == transparent, np.uint8(background[0]), grey)
    colour = np.repeat(grey[..., None], 3, axis=2)
    colour[values == transparent] = background
    return colour


def _on_background(image: "Image.Image", background: tuple[int, int, int]) -> np.ndarray:
    """Lay a transparent image on the background; grey on grey stays grey."""
    from PIL import Image

    opaque = Image.new("RGBA", image.size, (*background, 255))
    flat = Image.alpha_composite(opaque, image.convert("RGBA"))
    stays_grey = image.mode in ("1", "L", "LA", "La") and len(set(background)) == 1
    return np.asarray(flat.getchannel("R") if stays_grey else flat.convert("RGB"))


def _from_cmyk(image: "Image.Image") -> np.ndarray:
    from PIL import ImageChops

    if _format(image) == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's and has inverted it
    return np.asarray(image.convert("RGB"))


def _orientation(image: "Image.Image", findings: list[str]) -> int:
    """Read the EXIF orientation, 1 where there is none (Pillow has already turned a TIFF while loading)."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DECODER_ERRORS:
        findings.append("exif_unreadable")
        return 1
    return orientation if isinstance(orientation, int) else 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn (H, W, …) pixels by EXIF orientation 1 … 8 (EXIF 2.32, tag 0x0112); other values mean 1."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
