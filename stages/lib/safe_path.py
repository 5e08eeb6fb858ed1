"""Whether a path that stands in a table stays inside the table's folder.

Nothing is resolved or decoded to be opened: text that climbs out, or would if some program decoded it, is
refused as it stands (CWE-22; OWASP, Path Traversal lists the encodings).
"""

import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import unquote

_PLAIN = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_./ -]*")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|(?:file|data|https?|ftp|s3|gs):|[A-Za-z]:", re.IGNORECASE)
_DECODINGS = 3
"""Times that percent signs are decoded: `%252e` needs two."""


def leaves_root(text: str) -> str | None:
    """Say why a relative path could lead out of its root, or None where it cannot."""
    if _PLAIN.fullmatch(text):
        return None
    for form in _forms(text):
        if (why := _leaves(form)) is not None:
            return why if form == text else f"{why} once decoded"
    return None


def _forms(text: str) -> list[str]:
    """Return the text and what percent decoding and Unicode compatibility make of it."""
    forms = [text]
    for _ in range(_DECODINGS):
        forms.append(unquote(forms[-1], errors="replace"))
    return list(dict.fromkeys([*forms, *(unicodedata.normalize("NFKC", form) for form in forms)]))


def _leaves(text: str) -> str | None:
    if "\0" in text:
        return "it holds a NUL character"
    if "\\" in text:
        return "it holds a backslash: separate folders by /"
    if _ADDRESS.match(text):
        return "it is an address or names a drive"
    if text.startswith("/"):
        return "it is absolute"
    if text.startswith("~"):
        return "it begins with ~, a home folder"
    if ".." in text.split("/"):
        return "it climbs by .."
    return None


def plain(text: str) -> str:
    """Return a safe relative path without needless parts: `./a//b` is `a/b`."""
    return PurePosixPath(text).as_posix()
