"""Hash what is recorded against what is stored, everywhere, and say what is wrong in whose words it matters.

A fault names the file of the workspace and its stage, whatever object it was found in.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from stages.lib.errors import InputError
from stages.lib.progress import track
from stages.lib.stored_outputs import Output, Store, md5_of
from stages.lib.tree_object import is_tree, read_tree

MISSING, CHANGED, UNSAFE, UNKNOWN = "missing", "changed", "unsafe", "unknown"


@dataclass(frozen=True)
class Fault:
    """One thing that is not as recorded. where: workspace, cache or a remote; what: a word above."""

    where: str
    what: str
    output: Output
    detail: str

    def line(self) -> str:
        """Tell it on one line."""
        return f"{self.where}: {self.output.path} (stage {self.output.stage}) {self.detail}"


@dataclass
class Findings:
    """Files that were expected, folders that were opened, and faults."""

    files: list[Output] = field(default_factory=list)
    folders: list[Output] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def expected_files(outputs: Iterable[Output], stores: Sequence[Store]) -> Findings:
    """Open every recorded folder's tree object, in each store; only a sound one's files count."""
    found = Findings()
    for output in outputs:
        if not is_tree(output.oid):
            found.files.append(output)
            continue
        members = None
        for store in stores if output.cached else ():
            try:
                members = read_tree(output.oid, store.read(output.oid))
            except FileNotFoundError:
                found.faults.append(_absent(store, output))
            except InputError as error:
                told = f"has a tree object that cannot be trusted: {error} ({store.place(output.oid)})"
                found.faults.append(Fault(store.name, UNSAFE, output, told))
        if members is not None:
            found.folders.append(output)
            found.files += [
                Output(output.stage, output.path / path, oid, output.cached)
                for path, oid in sorted(members.items())
            ]
    return found


def _absent(store: Store, output: Output) -> Fault:
    return Fault(store.name, MISSING, output, f"is not there ({store.place(output.oid)})")


def stored_faults(files: Sequence[Output], store: Store) -> list[Fault]:
    """Hash every object that the files need, once, in one store."""
    by_oid: dict[str, list[Output]] = {}
    for output in files:
        if output.cached:
            by_oid.setdefault(output.oid, []).append(output)
    faults = []
    with ThreadPoolExecutor(store.workers) as pool:
        digests = track(pool.map(store.digest, by_oid), f"objects hashed in {store.name}", len(by_oid))
        for (oid, outputs), found in zip(by_oid.items(), digests, strict=True):
            if found is None:
                faults += [_absent(store, output) for output in outputs]
            elif found != oid:
                told = f"is stored with other bytes than recorded ({store.place(oid)})"
                faults += [Fault(store.name, CHANGED, output, told) for output in outputs]
    return faults


def workspace_faults(found: Findings, root: Path) -> list[Fault]:
    """Hash every file of the workspace that is recorded, and name files in recorded folders that are not."""
    faults = []
    for output in track(found.files, "files hashed in the workspace", len(found.files)):
        path = root / output.path
        if not path.is_file():
            faults.append(Fault("workspace", MISSING, output, "is not there"))
            continue
        with path.open("rb") as file:
            if md5_of(file) != output.oid:
                faults.append(Fault("workspace", CHANGED, output, "has other bytes than recorded"))
    known = {output.path for output in found.files}
    for folder in found.folders:
        for path in sorted((root / folder.path).rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and inside not in known:
                stranger = Output(folder.stage, inside, "", folder.cached)
                faults.append(
                    Fault("workspace", UNKNOWN, stranger, "is in a recorded folder, but not recorded")
                )
    return faults


def sound_copies(found: Findings, stores: Sequence[Store]) -> dict[str, dict[str, Output]]:
    """Return for each object id where a sound copy is: by place, a file that has these bytes there."""
    bad = {(fault.where, fault.output.path) for fault in found.faults}
    sound: dict[str, dict[str, Output]] = {}
    for output in found.files:
        places = sound.setdefault(output.oid, {})
        for where in ("workspace", *(store.name for store in stores if output.cached)):
            if (where, output.path) not in bad:
                places.setdefault(where, output)
    return sound
