"""Read the user's images once, refuse what cannot be trusted, and keep one row per sample.

From the digits inside scikit-learn, a folder of class folders, or a CSV or Parquet table, to `images.parquet`
(every accepted image upright, 8-bit, square, as PNG), `manifest.parquet` (one row per image; which labels are
neutral is in its metadata) and `quarantine.csv` (one line per item that was seen and not used, with its
reason). Nothing is lost: accepted + quarantined + ignored = seen.

Why here: user files are hostile and half broken, and what a later stage never sees cannot hurt it. Files are
decoded in processes that may die (`lib/decode_pool`), by declared rules (`lib/decode`).

A source is a function that yields one record per item (Accepted, Quarantined or Ignored) in a fixed order.
A sample is named by its id in the table, else by the first 16 hex digits of the SHA-256 of its file's bytes
(of its 64 pixel values for digits), repeats by `-2`, `-3`, … in source order, so that names stay when files
are moved or added.

Cost: digits 0.7 CPU seconds with imports; photographs 0.2 CPU seconds per 12 megapixels, 32-pixel JPEGs 0.35
ms (CIFAR-10's 50,000: 18 CPU seconds, 24 s on two cores, 0.4 GB in three processes).
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from stages.lib import human_counts
from stages.lib.artifacts import write_csv, write_table
from stages.lib.cli import stage_main
from stages.lib.decode import PILLOW_MAX_PIXELS
from stages.lib.decode_worker import Rules
from stages.lib.digits import read_digits, to_8_bit
from stages.lib.errors import InputError
from stages.lib.folder_scan import Found, name_collisions, scan
from stages.lib.image_store import encode_png, write_images
from stages.lib.intake import QUARANTINE_COLUMNS, Accepted, Announced, Facts, Ignored, Intake, Record, Spool
from stages.lib.label_roles import with_labels_made_of_votes
from stages.lib.progress import say, track
from stages.lib.reading import Item, read_items
from stages.lib.signature import archive_name
from stages.lib.square import Fit, fit_square
from stages.lib.state import state_folder
from stages.lib.table_rows import TableParams, annotator_columns
from stages.lib.table_source import Policy, table_records

SHRUNK_HARD = 4
"""Images whose sides shrink more than this on average deserve a word: detail that a class may need goes."""

MANIFEST_ROWS = 2**17
"""Rows of a row group of the manifest."""

FILES_NAMED = 10
"""Quarantined files that an error message names; all are in the list it points to."""

Byte = Annotated[int, Field(ge=0, le=255)]


class Params(TableParams):
    """Section `ingest` of params.yaml; which column is what stands in TableParams."""

    source: Literal["digits", "folder", "table"]
    path: str = Field(min_length=1)
    classes: tuple[str, ...]
    neutral_labels: tuple[str, ...]
    drop_labels: tuple[str, ...]
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
    policy(params).check("the digits", Counter(map(str, labels)))
    for row, pixels in enumerate(track(to_8_bit(images), "digits")):
        if str(labels[row]) in params.drop_labels:
            yield Ignored("dropped_label")
            continue
        square = fit_square(pixels, params.image_size, params.fit, params.background)
        facts = Facts(f"digits.csv:{row + 1}", str(labels[row]))
        seen = (digests[row], pixels.shape[1], pixels.shape[0], "L")
        yield Accepted(facts, *seen, (), 1, encode_png(square))


def folder_source(params: Params, raw: Path) -> Iterator[Record]:
    """Yield every entry of a folder of class folders: what is not read first, then the files by name."""
    folder = _inside(Path(params.path), raw)
    if not folder.is_dir():
        raise InputError(f"ingest.path: {folder} is a file; {_for_folder(folder)}")
    listed = scan(folder)
    if not listed.found and not listed.quarantined:
        raise InputError(
            f"ingest.path: no images in {params.path} ({listed.n_ignored} entries are hidden or no data): "
            "put one folder per class there, with JPEG, PNG, BMP, TIFF, WebP or GIF files in it"
        )
    policy(params).check(params.path, Counter(item.label for item in listed.found if item.label is not None))
    yield from map(Announced, set(listed.class_folders).difference(params.drop_labels))
    yield from (Ignored() for _ in range(listed.n_ignored))
    yield from listed.quarantined
    collisions = name_collisions(item.name for item in listed.found)
    items = (_item(found, folder, params, found.name in collisions) for found in listed.found)
    yield from read_items(items, rules(params), len(listed.found))


def _item(found: Found, folder: Path, params: Params, collides: bool) -> Item | Ignored:
    if found.label in params.drop_labels:
        return Ignored("dropped_label")
    findings = ("name_collision",) if collides else ()
    return Item(Facts(found.name, found.label, findings=findings), folder / found.name)


def _for_folder(path: Path) -> str:
    with path.open("rb") as file:
        archive = archive_name(file.read(512))
    if archive:
        return f"it is a {archive} archive: unpack it into data/raw and name the folder here"
    return (
        "source: folder needs a folder with one folder per class (source: table reads a CSV or Parquet file)"
    )


def table_source(params: Params, raw: Path) -> Iterator[Record]:
    """Yield every row of a table, and every file beside it that no row names."""
    path = _inside(Path(params.path), raw)
    if not path.is_file():
        raise InputError(f"ingest.path: {path} is a folder; source: table needs a .csv or .parquet file")
    yield from table_records(path, params, policy(params), rules(params))


def _inside(path: Path, raw: Path) -> Path:
    """Check that the path is there and lies in `raw`: only that folder is tracked and reproducible."""
    if ".." in path.parts or not path.resolve().is_relative_to(raw.resolve()):
        raise InputError(
            f"ingest.path: {path} is outside {raw}, the folder that DVC tracks: move the images there"
        )
    if not path.exists():
        raise InputError(f"ingest.path: {path} does not exist: create it, or correct the path in params.yaml")
    return path


def rules(params: Params) -> Rules:
    """Return what the decode workers need of the params."""
    return Rules(**{name: getattr(params, name) for name in Rules.__dataclass_fields__})


def policy(params: Params) -> Policy:
    """Return what is done with labels."""
    return Policy(params.classes, params.neutral_labels, params.drop_labels)


SOURCES: dict[str, Callable[[Params, Path], Iterator[Record]]] = {
    "digits": digits_source,
    "folder": folder_source,
    "table": table_source,
}


def check_quarantine(intake: Intake, params: Params) -> None:
    """Stop where nothing was accepted, or so much was refused that the folder itself must be wrong.

    The share is of the items that were read: ignored ones do not dilute it.
    """
    n_refused, n_accepted = len(intake.quarantined), intake.n_accepted
    if not n_refused and not n_accepted:
        raise InputError("ingest: every image has a label of ingest.drop_labels: nothing is left")
    share = n_refused / max(1, n_refused + n_accepted)
    if n_accepted and share <= params.max_quarantine_fraction:
        return
    everything = state_folder() / "ingest-quarantine.csv"
    write_csv(everything, QUARANTINE_COLUMNS, intake.quarantine_rows())
    counts = ", ".join(f"{reason} {n}" for reason, n in intake.quarantine_by_reason().items())
    seen = "rows and files" if params.source == "table" else "files"
    first = [f"  {name!r}: {reason}: {detail}" for name, reason, detail, *_ in intake.quarantine_rows()]
    more = [f"  … and {n_refused - FILES_NAMED} more"] if n_refused > FILES_NAMED else []
    raise InputError(
        f"ingest: {n_refused} of {n_refused + n_accepted} {seen} cannot be used ({counts}); "
        f"ingest.max_quarantine_fraction is {params.max_quarantine_fraction:g}.\n"
        + "\n".join(first[:FILES_NAMED] + more)
        + f"\nThe whole list: {everything}. Mend or remove these files, or raise the limit in params.yaml"
    )


def tell(metrics: dict[str, Any], image_size: int, out: Path) -> None:
    """Say what a person should look at before trusting the set."""
    say("{n_accepted} images in {n_classes} classes, {n_unlabelled} unlabelled".format(**metrics))
    if metrics["n_neutral"]:
        say(f"{metrics['n_neutral']} images have a label of ingest.neutral_labels")
    if metrics["n_quarantined"]:
        say(f"{metrics['n_quarantined']} files or rows quarantined: {out}/quarantine.csv says why")
    for label in metrics["classes_without_images"]:
        say(f"class {label!r} has no usable image and is left out")
    for label, others in metrics["label_variants"].items():
        say(f"class {label!r} looks like {', '.join(map(repr, others))}: rename them to merge them")
    longer = max(metrics["median_width"], metrics["median_height"])
    if longer > SHRUNK_HARD * image_size:
        say(
            f"images of {longer:g} pixels shrink to ingest.image_size = {image_size}: raise it to keep detail"
        )


def run(params: Params, *, raw: Path, out: Path) -> dict[str, Any]:
    """Take in everything the source yields and write the store, the manifest and the quarantine list."""
    intake = Intake(annotator_columns(params), bool(params.human_counts), params.neutral_labels)
    with tempfile.TemporaryFile(dir=out) as file:
        spool = Spool(file)
        for record in SOURCES[params.source](params, raw):
            intake.take(record, spool)
        check_quarantine(intake, params)
        images = intake.images(spool)
        digest = intake.digest.hexdigest()
        write_images(out / "images.parquet", images, params.image_size, intake.channels, digest)
    manifest = human_counts.with_order(intake.manifest(), params.classes)
    if params.source == "table" and params.annotators and not params.label:
        manifest = with_labels_made_of_votes(manifest)
    write_table(out / "manifest.parquet", manifest, MANIFEST_ROWS)
    write_csv(out / "quarantine.csv", QUARANTINE_COLUMNS, intake.quarantine_rows())
    metrics = intake.metrics()
    tell(metrics, params.image_size, out)
    return metrics


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
