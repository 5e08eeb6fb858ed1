"""The files of a teacher that `distill` names: a safetensors file, or a release's folder; no torch here."""

from collections.abc import Mapping
from pathlib import Path

from stages.lib.errors import InputError
from stages.lib.payload import weight_files
from stages.lib.pinned_file import Pinned, folder_digest

OTHER = (
    "it cannot teach here; name a model.safetensors that this project's train or distill wrote for these "
    "classes and images, or a release's folder"
)
"""What to do about a teacher that does not fit."""


def files_of(teacher: Pinned) -> dict[str, Path]:
    """Return the weights files by name; InputError where there are none."""
    try:
        teacher.path.stat()
    except OSError as error:
        raise teacher.unreadable(error) from error
    if not teacher.path.is_dir():
        return {teacher.path.stem: teacher.path}
    files = weight_files(teacher.path)
    if not files:
        raise InputError(
            f"{teacher.key}_file: {teacher.path} holds no weights (model.safetensors, seed<k>.safetensors)"
        )
    return files


def check_pin(teacher: Pinned, digests: Mapping[Path, str]) -> None:
    """Compare with the file's SHA-256, or in a folder with that of what `sha256sum *.safetensors` prints."""
    teacher.require(folder_digest(digests) if teacher.path.is_dir() else digests[teacher.path])
