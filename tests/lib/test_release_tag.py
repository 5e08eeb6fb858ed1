"""A tagged release is found by DVC and by GTO, whole and signed, and leaves branch and files as they were."""

import contextlib
import subprocess
from pathlib import Path

import pytest
import yaml

from stages.commands.push import push
from stages.commands.release import tag
from stages.commands.verify import VERIFIED, verify_bundle
from stages.lib.errors import InputError
from stages.lib.payload import AUDIT, sha256_of
from stages.lib.release_tag import refuse_version, versions
from stages.lib.signing import PRIVATE, PUBLIC
from tests.dvc_project import ENVIRONMENT
from tests.release_fixture import ROOT, Project, sign


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def shared(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The signed project as a repository that DVC knows, with a remote."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    wiring = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    (project.root / "dvc.yaml").write_text(yaml.safe_dump({"artifacts": wiring["artifacts"]}))
    (project.root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    run(project.root, "dvc", "init", "-q")
    run(project.root, "dvc", "config", "core.analytics", "false")
    run(project.root, "dvc", "remote", "add", "-q", "-d", "team", "../remote")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "Shared")
    sign(project, project.keys / PRIVATE)
    return project


def test_a_tagged_release_is_got_by_version_and_by_stage_and_verifies(
    shared: Project, tmp_path: Path
) -> None:
    before = run(shared.root, "git", "status", "--porcelain"), run(shared.root, "git", "rev-parse", "HEAD")
    with contextlib.chdir(shared.root):
        tag("v1.0.0")
        push()
    assert before == (
        run(shared.root, "git", "status", "--porcelain"),
        run(shared.root, "git", "rev-parse", "HEAD"),
    )
    run(shared.root, "gto", "assign", "model", "--version", "v1.0.0", "--stage", "prod")
    shown = run(shared.root, "gto", "show")
    assert "model" in shown
    assert "v1.0.0" in shown
    run(tmp_path, "git", "clone", "-q", str(shared.root), "colleague")
    for number, asked in enumerate((["--rev", "v1.0.0"], ["--stage", "prod"], [])):
        got = tmp_path / f"got{number}"
        run(tmp_path / "colleague", "dvc", "artifacts", "get", ".", "model", "-o", str(got), *asked)
        assert {path.name: sha256_of(path) for path in got.iterdir()} == {
            path.name: sha256_of(path) for path in shared.bundle.iterdir()
        }
    assert verify_bundle(got, shared.keys / PUBLIC, None, None, False) == VERIFIED


def test_the_tag_says_what_was_released_and_stands_on_the_released_commit(shared: Project) -> None:
    with contextlib.chdir(shared.root):
        tag("v0.1.0")
        assert versions() == {"v0.1.0": (0, 1, 0)}
    told = run(shared.root, "git", "cat-file", "tag", "model@v0.1.0")
    assert f"audit.json sha256 {sha256_of(shared.bundle / AUDIT)}" in told
    assert "top-1 accuracy" in told
    parent = run(shared.root, "git", "rev-parse", "model@v0.1.0^{commit}~1")
    assert parent == run(shared.root, "git", "rev-parse", "HEAD")
    changed = run(shared.root, "git", "diff", "--name-only", "HEAD", "model@v0.1.0")
    assert changed == "data/release/bundle.dvc\n"


@pytest.mark.parametrize("version", ["1.0.0", "v1", "v1.0.0-rc1", "v01.0.0", "v1.0.0\n", "-f"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(InputError, match=r"a version is written v1\.2\.0"):
        refuse_version(version, {})


@pytest.mark.parametrize("version", ["v1.9.0", "v1.10.0", "v0.99.99"])
def test_a_version_follows_the_newest(version: str) -> None:
    with pytest.raises(InputError, match=r"v1\.10\.0 is released already"):
        refuse_version(version, {"v1.10.0": (1, 10, 0), "v1.9.0": (1, 9, 0)})
