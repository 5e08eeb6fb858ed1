"""A bundle that is what was signed, and stays so while it is used.

Whoever can write to a bundle may change it between the check and the use, or cut a file that is mapped: so
what is checked is a private copy, and what is loaded is that copy.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.lib.bundle import NAME
from stages.lib.errors import InputError
from stages.lib.payload import files_of
from stages.lib.progress import say
from stages.lib.signing import KEY_VARIABLE, trusted_key
from stages.lib.verification import digest_faults, verify


@contextmanager
def trusted_copy(bundle: Path, key: Path | None) -> Iterator[Path]:
    """Give a private copy of a bundle that holds what was signed."""
    files = files_of(bundle, signed=True)
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        copy = Path(folder) / NAME
        copy.mkdir()
        for name, path in files.items():
            shutil.copyfile(path, copy / name, follow_symlinks=False)
        try:
            trusted_bundle(copy, key)
        except InputError as error:
            raise InputError(str(error).replace(str(copy), str(bundle))) from error
        yield copy


def trusted_bundle(bundle: Path, key: Path | None) -> None:
    """Refuse a bundle that is not what was signed, or, where no key is known, not what it says it is."""
    public = key or trusted_key()
    if public is None:
        files_of(bundle, signed=True)
        faults = digest_faults(bundle)
        say("signature not checked: name the public key you trust with --key")
    else:
        faults = [f"{check.name}: {check.detail}" for check in verify(bundle, public) if not check.passed]
    if faults:
        raise InputError(f"{bundle} cannot be trusted: {'; '.join(faults[:3])}")


def key_or_refusal(key: Path | None) -> Path:
    """Return the public key to hold a bundle against; InputError where none is trusted here."""
    public = key or trusted_key()
    if public is None:
        raise InputError(
            "a signature is worth as much as the key it is held against: name the public key of those you "
            f"trust with --key, or in {KEY_VARIABLE}"
        )
    return public
