"""Files that params name together with their SHA-256: are they there, and are they the ones that were chosen?

No torch here, so that `assay check` can ask before the chain starts.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.lib.errors import InputError

MOST_BYTES = 8 << 30
"""A file that is larger is refused: it is read into memory as a whole."""


@dataclass(frozen=True)
class Pinned:
    """A file or a folder as params name it. key: what the names of its two keys begin with: `train.init`."""

    key: str
    path: Path
    sha256: str

    def content(self) -> bytes:
        """Return the file's bytes; InputError where it cannot be read, is too large, or another one."""
        self._check_size()
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise self.unreadable(error) from error
        self.require(hashlib.sha256(content).hexdigest())
        return content

    def check(self) -> None:
        """Raise InputError where `content` would, in little memory."""
        self._check_size()
        self.require(self.digest(self.path))

    def digest(self, file: Path) -> str:
        """Return the SHA-256 of this file, or of one in this folder."""
        try:
            with file.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise self.unreadable(error) from error

    def require(self, found: str) -> None:
        """Raise InputError where the SHA-256 `found` is not the one that params say."""
        if found != self.sha256:
            raise InputError(
                f"{self.key}_file: {self.path}: its SHA-256 is {found}, {self.key}_sha256 says "
                f"{self.sha256 or 'nothing'}: it is not the file that was chosen; if it is the right one, "
                "write its hash there"
            )

    def unreadable(self, error: OSError) -> InputError:
        """Return what to say where the file system refuses."""
        return InputError(
            f"{self.key}_file: {self.path} cannot be read ({error.strerror}): name one that can, by its path "
            "from the project's folder"
        )

    def _check_size(self) -> None:
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise self.unreadable(error) from error
        if size > MOST_BYTES:
            raise InputError(
                f"{self.key}_file: {self.path} is too large: it has {size:,} bytes, {MOST_BYTES:,} are read"
            )


def folder_digest(digests: Mapping[Path, str]) -> str:
    """Return the SHA-256 of what `sha256sum *` prints in a folder of files with these digests."""
    lines = [f"{digest}  {path.name}\n" for path, digest in sorted(digests.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
