"""Hash workspace, cache and remote against what dvc.lock records; name what is wrong, and mend what can be.

DVC does not do this: it compares names, sizes and times, so that one flipped bit passes checkout, status,
push and pull (measured on 3.67).
"""

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from stages.lib.artifacts import atomic
from stages.lib.errors import InputError
from stages.lib.integrity import (
    UNKNOWN,
    UNSAFE,
    Fault,
    Findings,
    expected_files,
    sound_copies,
    stored_faults,
    workspace_faults,
)
from stages.lib.progress import say
from stages.lib.stored_outputs import Output, Store, cache_of, open_repo, recorded_outputs, remote_of

SHOWN = 50


def fsck(remote: str | None = None, mend: bool = False) -> int:
    """Check, print each fault with the way back, mend if asked; return 0 when all is sound in the end."""
    with open_repo() as repo:
        root = Path(repo.root_dir)
        stores = [cache_of(repo), *([remote_of(repo, remote, to_read=True)] if remote else [])]
        outputs = recorded_outputs(repo)
        if not outputs:
            raise InputError("nothing is recorded in dvc.lock or .dvc files: `make repro` comes first")
        found = examine(outputs, stores, root)
        tell(found, stores, mend)
        if mend and found.faults:
            put_right(found, stores, root)
            found = examine(outputs, stores, root)
            say("mended" if not found.faults else f"{len(found.faults)} fault(s) remain:")
            tell(found, stores, False)
    return 1 if found.faults else 0


def examine(outputs: Sequence[Output], stores: Sequence[Store], root: Path) -> Findings:
    """Look everywhere."""
    found = expected_files(outputs, stores)
    for store in stores:
        found.faults += stored_faults(found.files, store)
    found.faults += workspace_faults(found, root)
    return found


def tell(found: Findings, stores: Sequence[Store], mend: bool) -> None:
    """Print the faults, each with the way back."""
    import typer

    if not found.faults:
        typer.echo(f"{len(found.files)} files are as recorded in {places(stores)}")
        return
    sound = sound_copies(found, stores)
    for fault in found.faults[:SHOWN]:
        typer.echo(fault.line())
        if not mend:
            typer.echo(f"  {way_back(fault, sound.get(fault.output.oid, {}))}")
    if len(found.faults) > SHOWN:
        typer.echo(f"… and {len(found.faults) - SHOWN} more")


def places(stores: Sequence[Store]) -> str:
    """Name where was looked."""
    return ", ".join(["workspace", *(store.name for store in stores)])


def way_back(fault: Fault, sound: Collection[str]) -> str:
    """Say what to do about a fault, given where a sound copy of the same bytes is."""
    path, stage = fault.output.path, fault.output.stage
    if fault.what == UNKNOWN:
        return f"remove it, unless it is yours: `rm {path}`"
    if fault.what == UNSAFE:
        return "check nothing out from there, and tell who keeps it; `assay fsck --mend` cleans the cache"
    if not fault.output.cached:
        return f"git holds it: `git checkout {path}`; or `dvc repro -f {stage}`"
    if sound:
        return f"a sound copy is in {', '.join(sorted(sound))}: `assay fsck --mend` takes it"
    return f"no sound copy was found: `assay fsck --remote NAME`, or make it again: `dvc repro -f {stage}`"


def put_right(found: Findings, stores: Sequence[Store], root: Path) -> None:
    """Take what is wrong out of the cache, and put a sound copy wherever one is missing."""
    cache, by_name = stores[0], {store.name: store for store in stores}
    sound = sound_copies(found, stores)
    for fault in found.faults:
        if fault.where == cache.name:
            Path(cache.place(fault.output.oid)).unlink(missing_ok=True)
    for fault in found.faults:
        output, copies = fault.output, sound.get(fault.output.oid, {})
        if not output.cached or not copies:
            continue
        object_path = Path(cache.place(output.oid))
        if not object_path.exists():
            _fill_cache(object_path, output.oid, copies, by_name, root)
        if fault.where == "workspace":
            _replace(root / output.path, object_path)
        elif fault.where != cache.name:
            by_name[fault.where].put(output.oid, object_path)


def _fill_cache(
    place: Path, oid: str, copies: Mapping[str, Output], stores: Mapping[str, Store], root: Path
) -> None:
    """Bring a sound copy into the cache, read-only as DVC keeps it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    remotes = [name for name in copies if name in stores]
    with atomic(place) as temporary:
        if "workspace" in copies:
            shutil.copyfile(root / copies["workspace"].path, temporary)
        else:
            stores[remotes[0]].get(oid, temporary)
        temporary.chmod(0o444)


def _replace(path: Path, content: Path) -> None:
    """Put the cache's bytes in place of a file; a link there is replaced, not written to."""
    with atomic(path) as temporary:
        shutil.copyfile(content, temporary)
