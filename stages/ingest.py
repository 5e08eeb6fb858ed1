"""Read the user's images once, refuse what cannot be trusted, and keep one row per sample.

From the digits inside scikit-learn or a folder of class folders to `images.parquet` (every accepted image
upright, 8-bit, square, as PNG), `manifest.parquet` (one row per image) and `quarantine.csv` (one line per
item that was seen and not used, with its reason). Nothing is lost: accepted + quarantined + ignored = seen.

Why here: user files are hostile and half broken, and what a later stage never sees cannot hurt it. Files are
decoded in processes that may die (`lib/decode_pool`), by declared rules (`lib/decode`).

A source is a function that yields one record per item (Accepted, Quarantined or Ignored) in a fixed order.
A sample is named by the first 16 hex digits of the SHA-256 of its file's bytes (of its 64 pixel values for
digits), repeats by `-2`, `-3`, … in source order, so that names stay when files are moved or added.

Cost: digits 0.7 CPU seconds with imports; photographs 0.2 CPU seconds per 12 megapixels, small files 0.6 ms.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from stages.lib.artifacts import write_csv, write_table
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.decode import PILLOW_MAX_PIXELS
from stages.lib.decode_pool import DecodePool
from stages.lib.decode_worker import Rules
from stages.lib.digits import read_digits, to_8_bit
from stages.lib.errors import InputError
from stages.lib.folder_scan import Found, name_collisions, read_regular, scan
from stages.lib.image_store import encode_png, write_images
from stages.lib.intake import QUARANTINE_COLUMNS, Accepted, Announced, Ignored, Intake, Record, Spool
from stages.lib.progress import say, track
from stages.lib.refusal import Quarantined, RefusalError
from stages.lib.signature import fits_extension
from stages.lib.square import Fit, fit_square
from stages.lib.state import state_folder

SHRUNK_HARD = 4
"""Images whose sides shrink more than this on average deserve a word: detail that a class may need goes."""

FILES_NAMED = 10
"""Quarantined files that an error message names; all are in the list it points to."""

Byte = Annotated[int, Field(ge=0, le=255)]


class Params(Section):
    """Section `ingest` of params.yaml."""

    source: Literal["digits", "folder"]
    path: str = Field(min_length=1)
    image_size: int = Field(ge=4, le=1024)
    fit: Fit
    background: tuple[Byte, Byte, Byte]
    max_pixels: int = Field(ge=1, le=PILLOW_MAX_PIXELS)
    min_side: int = Field(ge=1)
    max_aspect: float = Field(ge=1)
    max_quarantine_fraction: float = Field(ge=0, le=1)


def digits_source(params: Params, _raw: Path) -> Iterator[Record]:
    """Yield the digits of scikit-learn, named by their row (from 1) in its file."""
    images, labels = read_digits()
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    for row, pixels in enumerate(track(to_8_bit(images), "digits")):
        square = fit_square(pixels, params.image_size, params.fit, params.background)
        name = f"digits.csv:{row + 1}"
        facts = (digests[row], pixels.shape[1], pixels.shape[0], "L")
        yield Accepted(name, str(labels[row]), *facts, (), 1, encode_png(square))


def folder_source(params: Params, raw: Path) -> Iterator[Record]:
    """Yield every entry of a folder of class folders: what is not read first, then the files by name."""
    folder = _inside(Path(params.path), raw)
    listed = scan(folder)
    if not listed.found and not listed.quarantined:
        raise InputError(
            f"ingest.path: no images in {params.path} ({listed.n_ignored} entries are hidden or no data): "
            "put one folder per class there, with JPEG, PNG, BMP, TIFF, WebP or GIF files in it"
        )
    yield from map(Announced, listed.class_folders)
    yield from (Ignored() for _ in range(listed.n_ignored))
    yield from listed.quarantined
    collisions = name_collisions(item.name for item in listed.found)
    yield from decoded(listed.found, folder, params, collisions)


def _inside(path: Path, raw: Path) -> Path:
    """Check that the folder is there and lies in `raw`: only that folder is tracked and reproducible."""
    if ".." in path.parts or not path.resolve().is_relative_to(raw.resolve()):
        raise InputError(
            f"ingest.path: {path} is outside {raw}, the folder that DVC tracks: move the images there"
        )
    if not path.exists():
        raise InputError(f"ingest.path: {path} does not exist: create it, or correct the path in params.yaml")
    if not path.is_dir():
        raise InputError(
            f"ingest.path: {path} is a file; source: folder needs a folder with one folder per class"
        )
    return path


def decoded(files: list[Found], folder: Path, params: Params, collisions: set[str]) -> Iterator[Record]:
    """Decode files in worker processes, in order, a bounded number ahead."""
    shared = Rules.__dataclass_fields__.keys()
    rules = Rules(**{name: getattr(params, name) for name in shared})
    with closing(DecodePool(rules)) as pool:
        records = pool.ordered(lambda item: _examine(item, folder, pool, item.name in collisions), files)
        yield from track(records, "images", len(files))


def _examine(item: Found, folder: Path, pool: DecodePool, collides: bool) -> Accepted | Quarantined:
    digest = ""
    try:
        data = read_regular(folder / item.name)
        digest = hashlib.sha256(data).hexdigest()
        image = pool.decode(data)
    except RefusalError as refusal:
        return Quarantined(item.name, refusal.reason, refusal.detail, digest)
    findings = list(image.findings)
    findings += ["name_collision"] if collides else []
    findings += [] if fits_extension(item.name, image.format) else ["extension_mismatch"]
    return Accepted(
        name=item.name,
        label=item.label,
        sha256=digest,
        width=image.width,
        height=image.height,
        mode=image.mode,
        findings=tuple(findings),
        channels=1 if image.pixels.ndim == 2 else 3,
        png=encode_png(image.pixels),
    )


SOURCES: dict[str, Callable[[Params, Path], Iterator[Record]]] = {
    "digits": digits_source,
    "folder": folder_source,
}


def check_quarantine(intake: Intake, params: Params) -> None:
    """Stop where nothing was accepted, or so much was refused that the folder itself must be wrong.

    The share is of the items that were read: ignored ones do not dilute it.
    """
    n_refused, n_accepted = len(intake.quarantined), len(intake.rows)
    share = n_refused / max(1, n_refused + n_accepted)
    if n_accepted and share <= params.max_quarantine_fraction:
        return
    everything = state_folder() / "ingest-quarantine.csv"
    write_csv(everything, QUARANTINE_COLUMNS, intake.quarantine_rows())
    counts = ", ".join(f"{reason} {n}" for reason, n in intake.quarantine_by_reason().items())
    first = [f"  {name!r}: {reason}: {detail}" for name, reason, detail, _ in intake.quarantine_rows()]
    more = [f"  … and {n_refused - FILES_NAMED} more"] if n_refused > FILES_NAMED else []
    raise InputError(
        f"ingest: {n_refused} of {n_refused + n_accepted} files cannot be used ({counts}); "
        f"ingest.max_quarantine_fraction is {params.max_quarantine_fraction:g}.\n"
        + "\n".join(first[:FILES_NAMED] + more)
        + f"\nThe whole list: {everything}. Mend or remove these files, or raise the limit in params.yaml"
    )


def tell(metrics: dict[str, Any], image_size: int, out: Path) -> None:
    """Say what a person should look at before trusting the set."""
    say("{n_accepted} images in {n_classes} classes, {n_unlabelled} unlabelled".format(**metrics))
    if metrics["n_quarantined"]:
        say(f"{metrics['n_quarantined']} files quarantined: {out}/quarantine.csv says why")
    for label in metrics["classes_without_images"]:
        say(f"class {label!r} has no usable image and is left out")
    for label, others in metrics["label_variants"].items():
        say(f"class {label!r} looks like {', '.join(map(repr, others))}: rename the folders to merge them")
    longer = max(metrics["median_width"], metrics["median_height"])
    if longer > SHRUNK_HARD * image_size:
        say(
            f"images of {longer:g} pixels shrink to ingest.image_size = {image_size}: raise it to keep detail"
        )


def run(params: Params, *, raw: Path, out: Path) -> dict[str, Any]:
    """Take in everything the source yields and write the store, the manifest and the quarantine list."""
    intake = Intake()
    with tempfile.TemporaryFile(dir=out) as file:
        spool = Spool(file)
        for record in SOURCES[params.source](params, raw):
            intake.take(record, spool)
        check_quarantine(intake, params)
        images = intake.images(spool)
        digest = intake.digest.hexdigest()
        write_images(out / "images.parquet", images, params.image_size, intake.channels, digest)
    write_table(out / "manifest.parquet", intake.manifest())
    write_csv(out / "quarantine.csv", QUARANTINE_COLUMNS, intake.quarantine_rows())
    metrics = intake.metrics()
    tell(metrics, params.image_size, out)
    return metrics


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
