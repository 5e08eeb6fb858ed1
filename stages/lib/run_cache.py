"""The results that DVC's run cache names, sent and fetched whole.

`dvc push --run-cache` (3.67) sends which results are known, but of their files only those that the workspace
uses, and never those that git holds (`cache: false`, every stage's metrics.json): a colleague's run cache
then knows a result and cannot restore it. This sends and fetches the rest.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from stages.lib.errors import MachineError
from stages.lib.stored_outputs import Store, reaching

if TYPE_CHECKING:
    from dvc.repo import Repo


def known_results(cache_folder: Path) -> Iterator[set[str]]:
    """Yield the object ids of each result in the run cache; what cannot be read is passed over, as by DVC."""
    for path in sorted((cache_folder / "runs").glob("*/*/*")):
        try:
            entry = yaml.load(path.read_bytes(), yaml.CSafeLoader)
            yield {str(out["md5"]) for out in entry["outs"]}
        except (yaml.YAMLError, KeyError, TypeError):
            continue


def send_results(repo: "Repo", remote: str | None, cache: Store, far: Store) -> int:
    """Send every result that the run cache knows and the cache still holds; return how many."""
    whole = [oids for oids in _known(repo) if all(cache.holds(oid) for oid in oids)]
    transfer_objects(cache, far, set().union(*whole))
    with reaching(far.name):
        repo.stage_cache.push(remote)
    return len(whole)


def fetch_results(repo: "Repo", remote: str | None, cache: Store, far: Store) -> int:
    """Fetch what the remote's run cache knows, and the files of each result that the remote holds whole."""
    with reaching(far.name):
        repo.stage_cache.pull(remote)
    whole = [oids for oids in _known(repo) if all(cache.holds(oid) or far.holds(oid) for oid in oids)]
    transfer_objects(far, cache, {oid for oids in whole for oid in oids if not cache.holds(oid)})
    return len(whole)


def _known(repo: "Repo") -> list[set[str]]:
    return list(known_results(Path(repo.cache.local_cache_dir)))


def transfer_objects(source: Store, target: Store, oids: set[str]) -> None:
    """Copy objects, and the files of those that are folders; MachineError where some could not be copied."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.transfer import transfer

    if not oids:
        return
    wanted = {HashInfo("md5", oid) for oid in oids}
    with reaching(f"{source.name} or {target.name}"):
        failed = transfer(source.odb, target.odb, wanted, shallow=False, cache_odb=source.odb).failed
    if failed:
        raise MachineError(
            f"{len(failed)} object(s) could not be brought from {source.name} to {target.name}"
        )
