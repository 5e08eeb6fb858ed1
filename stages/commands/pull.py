"""Bring a colleague's results: fetch into the cache, check every byte there, and only then check out.

`dvc pull` writes what a tree object names wherever it leads, and believes what it was sent; here nothing of
the workspace is touched before all of it is as recorded.
"""

import subprocess
from pathlib import Path

from stages.commands.fsck import tell
from stages.lib.errors import AssayError
from stages.lib.executables import dvc_command
from stages.lib.integrity import CHANGED, UNSAFE, Findings, expected_files, stored_faults
from stages.lib.progress import say
from stages.lib.run_cache import fetch_results
from stages.lib.stored_outputs import Store, cache_of, open_repo, recorded_outputs, remote_of


class NotSoundError(AssayError):
    """What was fetched is not what is recorded."""


def pull(remote: str | None = None, *, known: bool = False) -> None:
    """Fetch, check, check out; NotSoundError before anything is written to the workspace.

    With `known`, every result that the remote's run cache knows comes into this clone's first.
    """
    if known:
        with open_repo() as repo:
            n = fetch_results(repo, remote, cache_of(repo), remote_of(repo, remote, to_read=True))
        say(f"{n} known results are here")
    asked = ["--remote", remote] if remote else []
    fetched = subprocess.run([dvc_command(), "fetch", *asked], check=False)
    with open_repo() as repo:
        cache = cache_of(repo)
        found = expected_files(recorded_outputs(repo), [cache])
        found.faults += stored_faults(found.files, cache)
        needed = Findings(
            found.files, found.folders, [fault for fault in found.faults if fault.output.cached]
        )
        links = _links_in_the_way(needed, Path(repo.root_dir))
    if needed.faults:
        tell(needed, [cache], mend=True)
        _drop_changed(needed, cache)
        raise NotSoundError(
            f"{len(needed.faults)} of what was fetched is missing or not what is recorded: the workspace was "
            "left as it is. In a clone that has it whole, `assay fsck --remote NAME --mend` puts the remote "
            "right; then pull again"
        )
    if fetched.returncode:
        raise NotSoundError("dvc fetch failed (see above); the workspace was left as it is")
    if links:
        raise NotSoundError(f"{links[0]} is a link that leads out of its folder: remove it, then pull again")
    done = subprocess.run([dvc_command(), "checkout"], check=False)
    if done.returncode:
        raise NotSoundError("dvc checkout failed (see above); what was fetched is in the cache")


def _drop_changed(found: Findings, cache: Store) -> None:
    """Take what has other bytes than its name says out of the cache: DVC would never fetch it again."""
    for fault in found.faults:
        if fault.what in (CHANGED, UNSAFE):
            Path(cache.place(fault.output.oid)).unlink(missing_ok=True)


def _links_in_the_way(found: Findings, root: Path) -> list[Path]:
    """Return folders on the way to recorded files that are links: files would land elsewhere."""
    parents = {parent for output in found.files for parent in output.path.parents if parent != Path()}
    return sorted(parent for parent in parents if (root / parent).is_symlink())
