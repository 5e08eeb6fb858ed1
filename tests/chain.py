"""A clone of this project in a folder of its own, to run the whole chain in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

TINY: dict[str, dict[str, Any]] = {
    "ingest": {
        "source": "folder",
        "path": "data/raw/pictures",
        "image_size": 12,
        "max_quarantine_fraction": 0.5,
    },
    "label_noise": {"folds": 3},
    "baseline": {"linear_c": [0.1]},
    "pretrain": {"epochs": 2},
    "train": {"seeds": [0, 1], "epochs": 6, "head_epochs": 1, "widths": [16, 16, 16]},
    "distill": {"epochs": 4, "widths": [8, 8, 8]},
    "evaluate": {"bootstrap_draws": 200},
}
"""Params that make every stage small on a hundred pictures of our own."""


@dataclass(frozen=True)
class Chain:
    """A clone; `tracking` records runs in a SQLite file inside it."""

    root: Path
    tracking: bool = False

    @classmethod
    def clone(cls, root: Path, tracking: bool = False) -> "Chain":
        """Copy what git would give (working tree, ignored files left out) and make it a repository."""
        listed = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, root / name)
        chain = cls(root, tracking)
        chain.git("init", "-q", "-b", "main")
        chain.commit("The project")
        return chain

    def commit(self, message: str) -> None:
        """Commit everything git does not ignore."""
        self.git("add", "-A")
        author = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        self.git(*author, "commit", "-q", "--allow-empty", "-m", message)

    def git(self, *arguments: str) -> str:
        """Run git and return what it printed."""
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command of the environment (`dvc`, `assay`) in the clone."""
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.root,
            env=self.environment() | dict(environment or {}),
            capture_output=True,
            text=True,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """Return an environment in which the clone's own code, state and tracker are used."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ASSAY_", "MLFLOW_", "DVC_"))
        }
        own = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(self.root)}
        return kept | own | {"ASSAY_TRACKING": "on" if self.tracking else "off"}

    def set_params(self, **sections: Mapping[str, Any]) -> None:
        """Change keys of params.yaml, by section."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        for section, values in sections.items():
            params[section] |= values
        path.write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def repro(self, *arguments: str) -> list[str]:
        """Run the chain; return the names of the stages that ran, in order."""
        done = self.run("assay", "repro", *arguments)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return ran(done.stdout)

    def lock(self) -> dict[str, Any]:
        """Return the stages of dvc.lock."""
        stages: dict[str, Any] = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        return stages


def ran(output: str) -> list[str]:
    """Return the stages that DVC says it ran."""
    lines = output.splitlines()
    return [line.split("'")[1] for line in lines if line.startswith("Running stage")]
