"""What a file is by its first bytes, for the sentence that tells a person why it was refused.

Nothing is decoded here. Signatures: the formats' specifications, as collected in the `file` program's magic.
"""

from stages.lib.refusal import RefusalError

ALLOWED = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF")
"""The formats that are opened. Never EPS: Pillow would start Ghostscript on it."""

EXTENSIONS = {
    "JPEG": {"jpg", "jpeg", "jpe", "jfif", "mpo"},
    "PNG": {"png", "apng"},
    "BMP": {"bmp", "dib"},
    "TIFF": {"tif", "tiff"},
    "WEBP": {"webp"},
    "GIF": {"gif"},
}
"""The name endings, in small letters, that fit a format."""

_ALLOWED_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
}

_DOCUMENTS = {
    b"%!PS": "an EPS or PostScript program",
    b"\xc5\xd0\xd3\xc6": "an EPS program",
    b"%PDF": "a PDF document",
    b"8BPS": "a Photoshop document",
}

_OTHER_IMAGES = {
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\x01\0": "a Windows icon",
    b"P5": "PGM",
    b"P6": "PPM",
    b"SIMPLE  =": "FITS",
    b"\x76\x2f\x31\x01": "OpenEXR",
}

_ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}

_HEIF_BRANDS = {
    b"avif": ("AVIF", "pillow-avif-plugin"),
    b"avis": ("AVIF", "pillow-avif-plugin"),
    b"heic": ("HEIC", "pillow-heif"),
    b"heix": ("HEIC", "pillow-heif"),
    b"hevc": ("HEIC", "pillow-heif"),
    b"mif1": ("HEIF", "pillow-heif"),
    b"msf1": ("HEIF", "pillow-heif"),
}


def allowed_format(data: bytes) -> str | None:
    """Return the one of ALLOWED that the first bytes announce, or None."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for start, name in _ALLOWED_STARTS.items() if data.startswith(start)), None)


def archive_name(data: bytes) -> str | None:
    """Return what kind of archive the first bytes announce (tar: POSIX, `ustar` at 257), or None."""
    if data[257:262] == b"ustar":
        return "tar"
    return next((name for start, name in _ARCHIVES.items() if data.startswith(start)), None)


def fits_extension(name: str, image_format: str) -> bool:
    """Tell whether a file name ends as this format's files do; a name without an ending fits all."""
    _, dot, ending = name.rsplit("/", 1)[-1].rpartition(".")
    return not dot or ending.lower() in EXTENSIONS[image_format]


def refuse_unknown(data: bytes) -> RefusalError:
    """Say what a file is that none of the allowed formats' readers accepted."""
    return _refuse_document(data) or _refuse_other_image(data) or _refuse_non_image(data)


def _refuse_document(data: bytes) -> RefusalError | None:
    for start, what in _DOCUMENTS.items():
        if data.startswith(start):
            return RefusalError(
                "format_not_allowed", f"this is {what}, which is never opened: export it as PNG or JPEG"
            )
    return None


def _refuse_other_image(data: bytes) -> RefusalError | None:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        name, plugin = _HEIF_BRANDS[data[8:12]]
        return _not_supported(
            f"{name} (Pillow reads it only with a plugin such as {plugin}, which is not used here)"
        )
    if b"<svg" in data[:4096].lower():
        return _not_supported("SVG, a drawing program rather than pixels")
    if data[128:132] == b"DICM":
        return _not_supported("DICOM")
    name = next((name for start, name in _OTHER_IMAGES.items() if data.startswith(start)), "")
    return _not_supported(name) if name else None


def _not_supported(name: str) -> RefusalError:
    return RefusalError("format_not_supported", f"this is {name}: convert it to PNG or JPEG")


def _refuse_non_image(data: bytes) -> RefusalError:
    if data.startswith(b"version https://git-lfs"):
        return _no_image("this is a Git LFS pointer, the image itself was not fetched: run git lfs pull")
    archive = archive_name(data)
    if archive:
        return _no_image(f"this is a {archive} archive: unpack it and remove it from the folder")
    if data[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return _no_image("this is a web page, often an error page saved by a download: fetch the image again")
    shown = data[:24].decode("ascii", "backslashreplace")
    return _no_image(f"no image format begins with {shown!r}: remove the file or fetch the image again")


def _no_image(detail: str) -> RefusalError:
    return RefusalError("not_an_image", detail)
