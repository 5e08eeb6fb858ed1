"""Share results: what the workspace holds, every result that the run cache knows, and tagged releases."""

import subprocess

from stages.lib.errors import MachineError
from stages.lib.executables import dvc_command
from stages.lib.progress import say
from stages.lib.release_tag import released_objects
from stages.lib.run_cache import send_results, transfer_objects
from stages.lib.stored_outputs import cache_of, open_repo, remote_of


def push(remote: str | None = None) -> None:
    """Send both; MachineError where the remote does not take them (what it took is whole, and stays)."""
    asked = ["--remote", remote] if remote else []
    if subprocess.run([dvc_command(), "push", *asked], check=False).returncode:
        raise MachineError("dvc push failed (see above); run it again: what was sent is not sent twice")
    with open_repo() as repo:
        cache, far = cache_of(repo), remote_of(repo, remote)
        n = send_results(repo, remote, cache, far)
        released = {oid for oid in released_objects() if cache.holds(oid)}
        transfer_objects(cache, far, released)
    say(f"{n} known results are shared" + (f", {len(released)} tagged releases" if released else ""))
