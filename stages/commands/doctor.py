"""Explain what an interrupted run, pull or merge left behind, and put right what can be put right safely.

Each finding says what is there, what it does, and the way back. `--mend` takes only ways that lose nothing:
what it removes is empty, half written, or in git.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stages.commands.sync import waiting
from stages.lib.executables import dvc_command
from stages.lib.lock_faults import in_conflict, lock_faults
from stages.lib.provenance import DVC_FILE, LOCK_FILE
from stages.lib.yaml_file import read_yaml

DVC_FOLDER = Path(".dvc")
SHOWN = 10
HALF_MADE = Path("data/release/.bundle.new")


@dataclass(frozen=True)
class Finding:
    """One thing that was left. mend: what puts it right, None where a person has to."""

    what: str
    way_back: str
    mend: Callable[[], object] | None = None


def doctor(mend: bool = False) -> int:
    """Print every finding, mend if asked; return how many remain."""
    import typer

    found, remain = list(findings()), 0
    for finding in found:
        typer.echo(finding.what)
        if mend and finding.mend is not None:
            finding.mend()
            typer.echo("  mended")
        else:
            remain += 1
            typer.echo(f"  {finding.way_back}")
    if not found:
        typer.echo("nothing was left behind; `assay fsck` checks the bytes")
    return remain


def findings() -> Iterator[Finding]:
    """Yield what was left; a merge in progress hides everything that depends on its files."""
    conflicts = list(conflicted())
    yield from conflicts
    if not conflicts:
        yield from cut_lock()
    yield from reader_writer_lock()
    yield from temporary_files()
    if not conflicts and LOCK_FILE.exists():
        yield from missing_outputs()
    yield from unsent_records()
    yield from half_made_bundle()


def conflicted() -> Iterator[Finding]:
    """Yield files of the project with conflict marks."""
    candidates = [LOCK_FILE, DVC_FILE, Path("params.yaml"), *Path("data").glob("raw/*.dvc")]
    for path in [*candidates, *Path("data").glob("review/*")]:
        if in_conflict(path):
            way_back = (
                "keep either side, run `make repro` (what is known is not computed again), and commit"
                if path == LOCK_FILE
                else "edit it until both sides are as you want them, `git add` it, then `make repro`"
            )
            yield Finding(f"{path} holds the marks of an unfinished merge: nothing can read it", way_back)


def cut_lock() -> Iterator[Finding]:
    """Yield what is wrong with dvc.lock."""
    faults = lock_faults(LOCK_FILE, read_yaml(DVC_FILE).get("stages", {}) if DVC_FILE.exists() else {})
    if not faults:
        return
    told = "; ".join(faults[:SHOWN]) + (f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")
    in_git = _git("cat-file", "-e", f"HEAD:{LOCK_FILE}")
    if all("never ran here" in fault for fault in faults):
        yield Finding(f"{LOCK_FILE}: {told}", "run `make repro`")
    elif in_git:
        way_back = "`git checkout dvc.lock` brings the last committed one; then `make repro`"
        yield Finding(
            f"{LOCK_FILE}: {told}", way_back, partial(_git, "checkout", "HEAD", "--", str(LOCK_FILE))
        )
    else:
        yield Finding(
            f"{LOCK_FILE}: {told}", "remove it and run `make repro`: the run cache knows the results"
        )


def reader_writer_lock() -> Iterator[Finding]:
    """Yield why DVC's list of readers and writers holds up every command, where it does so without cause."""
    path = DVC_FOLDER / "tmp" / "rwlock"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except ValueError:
        listed = None
    if not isinstance(listed, dict):
        yield Finding(
            f"{path} is empty or cut off, as a kill in mid-write leaves it: DVC refuses every command",
            f"end other runs of DVC here, then `rm {path}`",
            path.unlink,
        )
        return
    strangers = sorted({pid for pid in listed_processes(listed) if is_stranger(pid)})
    if strangers:
        yield Finding(
            f"{path} says that process {', '.join(map(str, strangers))} runs DVC here, which it does not: "
            "its number was given to another program since",
            f"end other runs of DVC here, then `rm {path}`",
            path.unlink,
        )


def listed_processes(listed: Mapping[str, Any]) -> Iterator[int]:
    """Yield the processes that DVC's list names as readers or writers."""
    for entry in listed.values():
        for holders in entry.values() if isinstance(entry, dict) else ():
            for holder in holders if isinstance(holders, list) else [holders]:
                if isinstance(holder, dict) and isinstance(holder.get("pid"), int):
                    yield holder["pid"]


def is_stranger(pid: int) -> bool:
    """Say whether a process runs, and is not DVC; DVC itself passes over those that do not run.

    One that has no command line (yet: it is being started; any more: it has ended) is not judged.
    """
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return bool(command) and b"dvc" not in command


def temporary_files() -> Iterator[Finding]:
    """Yield half-written objects in the cache, which DVC never looks at again."""
    left = sorted((DVC_FOLDER / "cache").rglob("*.tmp"))
    if left:
        size = sum(path.stat().st_size for path in left)
        yield Finding(
            f"{len(left)} half-written file(s), {size} bytes, in {DVC_FOLDER}/cache, such as {left[0].name}",
            "end other runs of DVC here, then `assay doctor --mend` removes them",
            partial(_remove, left),
        )


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def missing_outputs() -> Iterator[Finding]:
    """Yield outputs that dvc.lock records and the workspace lacks."""
    from stages.lib.errors import InputError
    from stages.lib.stored_outputs import open_repo, recorded_outputs

    try:
        with open_repo() as repo:
            root = Path(repo.root_dir)
            gone = [output.path for output in recorded_outputs(repo) if not (root / output.path).exists()]
    except InputError as error:
        yield Finding(str(error), "see the findings above, or `git status`")
        return
    if gone:
        yield Finding(
            f"{len(gone)} recorded output(s) are not in the workspace, such as {gone[0]}",
            "`dvc checkout` takes them from the cache, `assay pull` from a remote, `make repro` makes them",
            partial(subprocess.run, [dvc_command(), "checkout", *map(str, gone)], check=False),
        )


def unsent_records() -> Iterator[Finding]:
    """Yield records that the tracker has not taken."""
    left = waiting()
    if left:
        yield Finding(
            f"{len(left)} record(s) of runs wait to be sent to the tracker", "`assay sync` sends them"
        )


def half_made_bundle() -> Iterator[Finding]:
    """Yield a bundle whose signing was interrupted."""
    if HALF_MADE.exists():
        way_back = f"`rm -r {HALF_MADE}`, then `assay release`"
        yield Finding(
            f"{HALF_MADE} is a release whose signing was interrupted",
            way_back,
            partial(shutil.rmtree, HALF_MADE),
        )


def _git(*arguments: str) -> bool:
    return subprocess.run(["git", *arguments], capture_output=True, check=False).returncode == 0
