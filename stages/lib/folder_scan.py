"""List a folder of class folders without opening a file or following a link, and read single files safely.

The class of an image is the name of the first folder under the root, kept exactly as text; deeper folders do
not matter. Images directly in the root have no class. Every entry ends in one of three places: found,
quarantined with a reason, or ignored and counted (hidden files, what systems and DVC leave, notes in
the root; a folder that is not entered counts once).
"""

import errno
import os
import stat
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.lib.refusal import Quarantined, RefusalError

_IGNORED_NAMES = frozenset(
    {"__macosx", "__pycache__", "$recycle.bin", "system volume information", "@eadir", "lost+found"}
    | {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
)
"""What macOS, Windows, Synology, ext4 and Python leave in folders, in small letters."""

_IGNORED_ENDINGS = (".dvc", ".pyc")
_NOTES = frozenset(
    f"{name}{ending}" for name in ("readme", "license", "licence") for ending in ("", ".md", ".txt", ".rst")
)
"""Notes about a data set, in the root only, in small letters."""

MAX_FILE_BYTES = 2**30
"""No photograph is larger; a file is read whole, so this bounds memory."""


@dataclass(frozen=True)
class Found:
    """A regular file: its name relative to the root, with `/`, and its class or None."""

    name: str
    label: str | None


@dataclass
class Scan:
    """Everything under a root, each list in the order of the names' bytes."""

    found: list[Found] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    n_ignored: int = 0
    class_folders: list[str] = field(default_factory=list)


def scan(root: Path) -> Scan:
    """Walk `root`, depth first, opening folders only."""
    result = Scan()
    folders = [""]
    while folders:
        prefix = folders.pop()
        for entry in _entries(root, prefix, result):
            _sort(entry, prefix, folders, result)
    result.found.sort(key=lambda item: item.name.encode())
    result.quarantined.sort(key=lambda item: item.file.encode())
    result.class_folders.sort(key=str.encode)
    return result


def _entries(root: Path, prefix: str, result: Scan) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(root / prefix) as entries:
            yield from entries
    except OSError as error:
        refusal = _refuse_open(root / prefix, error, "folder")
        result.quarantined.append(Quarantined(shown(prefix), refusal.reason, refusal.detail))


def _sort(entry: "os.DirEntry[str]", prefix: str, folders: list[str], result: Scan) -> None:
    """Put one entry where it belongs; a link is judged before what it points to."""
    name = prefix + entry.name
    if _is_ignored(entry.name, in_root=not prefix):
        result.n_ignored += 1
    elif entry.is_symlink():
        result.quarantined.append(Quarantined(shown(name), "symlink", _LINK))
    elif entry.is_dir(follow_symlinks=False):
        folders.append(f"{name}/")
        if not prefix and _is_utf8(name):
            result.class_folders.append(name)
    elif not _is_utf8(name):
        result.quarantined.append(Quarantined(shown(name), "name_not_utf8", _NOT_UTF8))
    elif not entry.is_file(follow_symlinks=False):
        result.quarantined.append(Quarantined(name, "not_regular", _NOT_REGULAR))
    else:
        result.found.append(Found(name, prefix.split("/", 1)[0] or None))


_LINK = (
    "links are not followed: put the file itself here (if DVC made the links, "
    "run dvc config cache.type reflink,hardlink,copy and then dvc checkout --relink)"
)
_NOT_UTF8 = "the name is not UTF-8 text, which DVC cannot track: rename it"
_NOT_REGULAR = "a pipe, socket or device, never opened: remove it"
_CHANGED = "it changed or vanished while it was read: run again when nothing writes to the folder"


def _is_ignored(name: str, in_root: bool) -> bool:
    small = name.lower()
    if name.startswith(".") or small in _IGNORED_NAMES or small.endswith(_IGNORED_ENDINGS):
        return True
    return in_root and small in _NOTES


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(name: str) -> str:
    """Return a name that any file can hold: bytes that are no UTF-8 appear as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _no_permission(path: Path, what: str) -> str:
    mode = "?"
    if os.access(path.parent, os.X_OK):
        mode = f"{stat.S_IMODE(path.lstat().st_mode):04o}"
    return f"user {os.geteuid()} may not read this {what} (mode {mode}): give read permission with chmod"


def read_regular(path: Path) -> bytes:
    """Read a regular file whole; RefusalError for anything else, whatever it was when it was listed.

    Opened without following a link and without waiting (a pipe put in its place would wait for ever).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _refuse_open(path, error, "file") from error
    with os.fdopen(descriptor, "rb") as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise RefusalError("not_regular", _NOT_REGULAR)
        if before.st_size > MAX_FILE_BYTES:
            raise RefusalError("too_many_bytes", f"{before.st_size} bytes: no image needs more than 1 GiB")
        data = file.read(before.st_size + 1)
        after = os.fstat(descriptor)
    if len(data) != before.st_size or after.st_mtime_ns != before.st_mtime_ns:
        raise RefusalError("changed_during_ingest", _CHANGED)
    return data


def _refuse_open(path: Path, error: OSError, what: str) -> RefusalError:
    if error.errno in (errno.EACCES, errno.EPERM):
        return RefusalError("permission", _no_permission(path, what))
    if error.errno == errno.ELOOP:
        return RefusalError("symlink", _LINK)
    if error.errno == errno.ENXIO:
        return RefusalError("not_regular", _NOT_REGULAR)
    if error.errno == errno.ENOENT:
        return RefusalError("changed_during_ingest", _CHANGED)
    return RefusalError("unreadable", f"{error.strerror}: check the disk and copy the {what} again")


def name_collisions(names: Iterable[str]) -> set[str]:
    """Return names that differ only by case or Unicode form: one of them is lost on macOS and Windows."""
    return {name for group in _alike(names, _file_key) for name in group}


def label_variants(labels: Iterable[str] | Mapping[str, int]) -> dict[str, list[str]]:
    """Map a class name to others that look like it: a proposal, never applied.

    Alike are names that differ by case, white space, width (full or half), or invisible characters (Unicode
    NFKC and category Cf, UAX 15 and 44). `labels` are names, or their counts.

    The most frequent spelling is proposed (the first in sorted order among equals).
    """
    counts = Counter(labels)
    proposals = {}
    for group in _alike(counts, _label_key):
        best = min(group, key=lambda label: (-counts[label], label))
        proposals[best] = sorted(set(group) - {best})
    return dict(sorted(proposals.items()))


def _alike(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[key(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _file_key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _label_key(label: str) -> str:
    seen = "".join(sign for sign in label if unicodedata.category(sign) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", seen).casefold().split())
