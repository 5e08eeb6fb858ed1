"""The files of a release: their names, which are allowed, their digests, and the weights among them.

A bundle is what strangers send: it is listed before anything in it is opened. Only regular files with these
names, directly in the folder, of bounded size; no link, no folder, nothing else.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from stages.lib.errors import InputError

ONNX = "model.onnx"
CLASSES = "classes.json"
PREPROCESSING = "preprocessing.json"
CALIBRATION = "calibration.json"
SCORED = "scored.parquet"
SAMPLES = "samples.parquet"
CLAIMS = "claims.json"
FACTS = "facts.json"
VERDICT = "verdict.json"
CARD = "README.md"
MATERIALS = "bom.cdx.json"
WEIGHTS = re.compile(r"(model|seed\d{1,9})\.safetensors")

NAMED = (ONNX, CLASSES, PREPROCESSING, CALIBRATION, SCORED, SAMPLES, CLAIMS, FACTS, VERDICT, CARD, MATERIALS)
"""What every payload holds beside its weights."""

AUDIT = "audit.json"
SIGNATURE = "signature.json"
SIGNED_WITH = (AUDIT, SIGNATURE)
"""What signing adds."""

MAX_FILE_BYTES = 4 * 10**9
MAX_TEXT_BYTES = 64 * 2**20
"""JSON and Markdown are read whole; a million classes fit."""


def weight_files(folder: Path) -> dict[str, Path]:
    """Return the weights in a payload by name: `model`, or one per member of an ensemble."""
    return {path.stem: path for path in sorted(folder.iterdir()) if WEIGHTS.fullmatch(path.name)}


def files_of(folder: Path, *, signed: bool) -> dict[str, Path]:
    """Return the files of a payload or a signed bundle by name; InputError names what does not belong."""
    if folder.is_symlink() or not folder.is_dir():
        raise InputError(f"{folder}: not a folder that holds a release")
    expected = NAMED + (SIGNED_WITH if signed else ())
    found = {path.name: path for path in sorted(folder.iterdir())}
    faults = list(_faults(found, expected))
    if faults:
        raise InputError(f"{folder}: not a release of this kind\n  " + "\n  ".join(faults[:20]))
    return found


def _faults(found: dict[str, Path], expected: tuple[str, ...]) -> Iterator[str]:
    for name, path in found.items():
        if name not in expected and not WEIGHTS.fullmatch(name):
            yield f"{name!r} does not belong here"
        elif path.is_symlink() or not path.is_file():
            yield f"{name} is not a regular file"
        elif path.stat().st_size > (MAX_FILE_BYTES if _is_large(name) else MAX_TEXT_BYTES):
            yield f"{name} has {path.stat().st_size} bytes, more than any release has"
    for name in expected:
        if name not in found:
            yield f"{name} is missing"
    if not any(WEIGHTS.fullmatch(name) for name in found):
        yield "there are no weights"


def _is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".onnx", ".parquet"))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(folder: Path, names: Iterable[str] | None = None) -> str:
    """Return one SHA-256 for the named files (default: all) of a folder, over sorted names and digests."""
    chosen = sorted(names) if names is not None else sorted(path.name for path in folder.iterdir())
    return digest_of_files({name: folder / name for name in chosen})


def digest_of_files(files: Mapping[str, Path]) -> str:
    """Return one SHA-256 for files by name, over sorted names and digests."""
    lines = [f"{sha256_of(path)}  {name}\n" for name, path in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
