"""Share results: what the workspace holds, and every result that the run cache knows."""

import subprocess

from stages.lib.errors import MachineError
from stages.lib.executables import dvc_command
from stages.lib.progress import say
from stages.lib.run_cache import send_results
from stages.lib.stored_outputs import cache_of, open_repo, remote_of


def push(remote: str | None = None) -> None:
    """Send both; MachineError where the remote does not take them (what it took is whole, and stays)."""
    asked = ["--remote", remote] if remote else []
    if subprocess.run([dvc_command(), "push", *asked], check=False).returncode:
        raise MachineError("dvc push failed (see above); run it again: what was sent is not sent twice")
    with open_repo() as repo:
        n = send_results(repo, remote, cache_of(repo), remote_of(repo, remote))
    say(f"{n} known results are shared")
