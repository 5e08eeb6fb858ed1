"""Where in git's history a computation stands: the commit, and whether its sources differ from it."""

import subprocess

SOURCES = ("stages", "dvc.yaml", "params.yaml", "requirements.lock", "data/raw", "data/review")
"""What makes a tree dirty, files unknown to git included. The chain's own records change as it runs."""


def head() -> str:
    """Return the commit that is checked out, empty outside a repository."""
    return _git("rev-parse", "HEAD")


def changed_sources() -> list[str]:
    """Return git's lines for sources that differ from the commit."""
    return _git("status", "--porcelain", "--untracked-files=all", "--", *SOURCES).splitlines()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip("\n") if done.returncode == 0 else ""
