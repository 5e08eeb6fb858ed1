"""What one clone shares through a folder, SSH or S3, another has: checked, and without computing."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.dvc_project import ENVIRONMENT, make_dvc_project
from tests.remote_servers import SERVERS, Remote

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
DAMAGE = """\
import sys
from stages.lib.stored_outputs import open_repo, remote_of
with open_repo() as repo:
    fs, place = (store := remote_of(repo, None)).odb.fs, store.place(sys.argv[2])
    content = fs.cat_file(place)
    fs.rm_file(place)
    if sys.argv[1] == "flip":
        fs.pipe_file(place, bytes([content[0] ^ 1]) + content[1:])
"""


class Team:
    """A project and its colleagues around one remote; commands run as people run them."""

    def __init__(self, place: Path, remote: Remote) -> None:
        self.remote, self.place = remote, place
        self.environment = ENVIRONMENT | remote.environment | {"PYTHONPATH": str(ROOT)}
        self.ada = make_dvc_project(place).root
        self.run(self.ada, "dvc", "remote", "remove", "team")
        self.run(self.ada, "dvc", "remote", "add", "-d", "team", remote.url)
        for key, value in remote.options.items():
            self.run(self.ada, "dvc", "remote", "modify", "team", key, value)
        self.run(self.ada, "git", "commit", "-qam", "The remote")

    def tried(self, clone: Path, *command: str) -> "subprocess.CompletedProcess[str]":
        if command[0] == "assay":
            command = (sys.executable, "-m", "stages.commands.main", *command[1:])
        return subprocess.run(
            command, cwd=clone, env=self.environment, capture_output=True, text=True, check=False
        )

    def run(self, clone: Path, *command: str) -> str:
        done = self.tried(clone, *command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def colleague(self, name: str) -> Path:
        self.run(self.place, "git", "clone", "-q", str(self.ada), name)
        return self.place / name

    def damage(self, how: str, oid: str) -> None:
        self.run(self.ada, sys.executable, "-c", DAMAGE, how, oid)


@pytest.fixture(scope="module", params=list(SERVERS))
def team(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp(request.param)
    with SERVERS[request.param](folder) as remote:
        yield Team(folder / "team", remote)


def oid_of(clone: Path, path: str) -> str:
    lock = yaml.safe_load((clone / "dvc.lock").read_text())
    outs = [out for stage in lock["stages"].values() for out in stage["outs"]]
    return str(next(out["md5"] for out in outs if out["path"] == path))


def test_what_one_pushed_another_pulls_and_runs_nothing(team: Team) -> None:
    assert "known results are shared" in team.tried(team.ada, "assay", "push").stderr
    colleague = team.colleague("bob")
    assert "the workspace is as dvc.lock records it" in team.run(colleague, "assay", "pull")
    told = team.run(colleague, "dvc", "repro")
    assert "Running stage" not in told
    assert "Data and pipelines are up to date." in told
    assert team.run(colleague, "git", "status", "--porcelain") == ""
    assert "as recorded in workspace, cache, remote team" in team.run(
        colleague, "assay", "fsck", "--remote", "team"
    )


def test_a_result_of_any_commit_comes_back_without_computing(team: Team) -> None:
    (team.ada / "one.txt").write_text("x,y\n")
    team.run(team.ada, "dvc", "repro", "-q")
    (team.ada / "one.txt").write_text("a,b\n")
    team.run(team.ada, "dvc", "repro", "-q")
    team.run(team.ada, "assay", "push")
    colleague = team.colleague("eve")
    team.run(colleague, "assay", "pull", "--known")
    (colleague / "one.txt").write_text("x,y\n")
    told = team.run(colleague, "dvc", "repro")
    assert told.count("is cached - skipping run, checking out outputs") == 2
    assert "Running stage" not in told


@pytest.mark.parametrize(("how", "told"), [("flip", "is stored with other bytes"), ("drop", "is not there")])
def test_F25_damage_in_the_remote_is_found_kept_out_and_mended(team: Team, how: str, told: str) -> None:
    team.run(team.ada, "assay", "push")
    oid = oid_of(team.ada, "data/two/table.csv")
    team.damage(how, oid)
    found = team.tried(team.ada, "assay", "fsck", "--remote", "team")
    assert found.returncode == 1
    assert f"remote team: data/two/table.csv (stage two) {told}" in found.stdout
    colleague = team.colleague(f"carl-{how}")
    pulled = team.tried(colleague, "assay", "pull")
    assert pulled.returncode == 1
    assert "data/two/table.csv" in pulled.stdout
    assert "Traceback" not in pulled.stderr
    assert not (colleague / "data/two/table.csv").exists()
    mended = team.run(team.ada, "assay", "fsck", "--remote", "team", "--mend")
    assert "as recorded in workspace, cache, remote team" in mended
    team.run(colleague, "assay", "pull")
    assert (colleague / "data/two/table.csv").exists()


def test_F26_a_remote_that_cannot_be_reached_is_one_readable_message(team: Team) -> None:
    colleague = team.colleague("far")
    away = {"url": f"{team.remote.url.replace('127.0.0.1', '127.0.0.2')}-away"}
    if "endpointurl" in team.remote.options:
        away = {"endpointurl": "http://127.0.0.1:9"}
    for key, value in away.items():
        team.run(colleague, "dvc", "remote", "modify", "team", key, value)
    for command in (("pull", "--known"), ("fsck", "--remote", "team")):
        done = team.tried(colleague, "assay", *command)
        assert done.returncode == 3, command
        assert "cannot be reached" in done.stderr
        assert "Traceback" not in done.stderr, command
    assert not (colleague / "data/two/table.csv").exists()
