"""DVC's tree objects, read without trust: a shared store may hold one that would write outside the clone.

A tree object is a JSON list of {md5, relpath}; DVC 3.67 checks out whatever it names. This reader takes only
what DVC itself writes: plain relative paths, none twice, none through `..`, git's or DVC's own folders.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from stages.lib.errors import InputError

SUFFIX = ".dir"
MD5 = re.compile(r"[0-9a-f]{32}")
OWN_FOLDERS = {".git", ".dvc"}
"""Where a file would be run, or believed, by git or DVC."""

MAX_BYTES = 2 * 10**9
"""A tree of ten million files is smaller."""


def is_tree(oid: str) -> bool:
    """Say whether an object id names a tree."""
    return oid.endswith(SUFFIX)


def read_tree(oid: str, content: bytes) -> dict[str, str]:
    """Return the object ids of a tree's files by path; InputError names ten things wrong with it at most."""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() + SUFFIX != oid:
        raise InputError("its bytes are not those that its name stands for")
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is no JSON ({error})") from error
    if not isinstance(entries, list):
        raise InputError("it is no list of files")
    faults = list(_faults(entries))
    if faults:
        raise InputError("; ".join(faults[:10]))
    return {entry["relpath"]: entry["md5"] for entry in entries}


def _faults(entries: list[object]) -> Iterator[str]:
    seen: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(key), str) for key in ("md5", "relpath")
        ):
            yield f"entry {number} is no file with md5 and relpath"
            continue
        path: str = entry["relpath"]
        if not MD5.fullmatch(entry["md5"]):
            yield f"{path!r} has {entry['md5']!r} for an MD5"
        if reason := _unsafe(path):
            yield f"{path!r} {reason}"
        elif path in seen:
            yield f"{path!r} is there twice"
        seen.add(path)


def _unsafe(path: str) -> str:
    parts = path.split("/")
    if not path or PurePosixPath(path).is_absolute() or "\\" in path or re.match(r"[A-Za-z]:", path):
        return "is no relative path"
    if any(part in ("", ".", "..") for part in parts):
        return "leads elsewhere"
    if any(part.lower() in OWN_FOLDERS for part in parts):
        return "lies in a folder of git or DVC"
    return "holds control characters" if any(ord(char) < 32 for char in path) else ""
