"""The steps of examples/ci/github.yml, run in their order in a fresh clone, as a runner would."""

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chain import BIN, ROOT, ran
from tests.test_chain import prepare

pytestmark = pytest.mark.slow

WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / "examples/ci/github.yml").read_text())
GH = '#!/bin/sh\necho "$@" > "$CALLS"\ncp "$5" "$CALLS.body"\n'


def environment_of(clone: Path) -> None:
    """Put in place what `make .venv/.ready` makes, from the environment at hand: no network is asked for it.

    The command `assay` runs the clone's own code.
    """
    venv, real = clone / ".venv", BIN.parent
    (venv / "bin").mkdir(parents=True)
    (venv / "lib").symlink_to(real / "lib")
    shutil.copy(real / "pyvenv.cfg", venv)
    for program in BIN.iterdir():
        if program.name not in {"assay", "activate"}:
            (venv / "bin" / program.name).symlink_to(program)
    (venv / "bin" / "activate").write_text(f'export PATH="{venv}/bin:$PATH"\n')
    executable(
        venv / "bin" / "assay",
        f"#!{venv}/bin/python\nimport sys\nsys.path.insert(0, {str(clone)!r})\n"
        "from stages.commands.main import main\nmain()\n",
    )
    (venv / ".ready").touch()
    os.utime(venv / ".ready", (time.time() + 60, time.time() + 60))


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def step(script: str, clone: Path, own: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run one step as GitHub does: `bash -e`, with its expressions filled in."""
    for name, value in {"github.base_ref": "main", "github.event.number": "7"}.items():
        script = script.replace("${{ " + name + " }}", value)
    assert "${{" not in script
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ASSAY_", "DVC_", "MLFLOW_"))
    }
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=clone, env=kept | own, capture_output=True, text=True, check=False
    )


def test_a_pull_request_runs_what_it_changes_and_says_what_came_of_it(tmp_path: Path) -> None:
    origin = prepare(tmp_path / "origin")
    assert origin.run("dvc", "add", "data/raw/pictures").returncode == 0
    origin.run("dvc", "remote", "add", "-d", "team", str(tmp_path / "store"))
    assert "train@0" in origin.repro()
    origin.commit("The results")
    assert origin.run("assay", "push").returncode == 0
    origin.git("switch", "-q", "-c", "more-draws")
    origin.set_params(evaluate={"bootstrap_draws": 250})
    origin.commit("More draws")
    clone = tmp_path / "runner"
    subprocess.run(["git", "clone", "-q", str(origin.root), str(clone)], check=True)
    environment_of(clone)
    executable(tmp_path / "tools" / "gh", GH)
    own = {
        "PATH": f"{tmp_path / 'tools'}:{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "CALLS": str(tmp_path / "calls"),
        "ASSAY_TRACKING": "off",
    }
    steps = WORKFLOW["jobs"]["chain"]["steps"]
    told = {item["name"]: step(item["run"], clone, own) for item in steps if "run" in item}
    for name, done in told.items():
        assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    first, second, _ = told.values()
    assert "::warning::" not in first.stdout
    assert ran(second.stdout) == ["evaluate", "release"]
    summary = (tmp_path / "summary.md").read_text()
    assert "| evaluate/bootstrap\\_draws | 200 | 250 |" in summary
    assert (tmp_path / "calls").read_text().startswith("pr comment 7 --body-file summary.md")
    assert (tmp_path / "calls.body").read_text() == summary
