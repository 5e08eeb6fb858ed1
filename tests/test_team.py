"""Two clones and one remote: the steps that CONTRIBUTING.md documents lead where it says."""

import contextlib
from pathlib import Path

import pytest

from stages.commands.fsck import fsck
from stages.commands.pull import pull
from stages.commands.push import push
from tests.dvc_project import DvcProject, colleague_of, make_dvc_project

ROOT = Path(__file__).parents[1]


@pytest.fixture
def team(tmp_path: Path) -> DvcProject:
    return make_dvc_project(tmp_path / "team")


def change(project: DvcProject, name: str, text: str) -> None:
    """Change one stage's input, run, commit and share."""
    (project.root / name).write_text(text)
    project.must("dvc", "repro", "-q")
    project.must("git", "commit", "-q", "-a", "-m", name)
    with contextlib.chdir(project.root):
        push()


def test_two_people_who_changed_different_stages_merge_and_only_what_depends_on_both_runs(
    team: DvcProject,
) -> None:
    ada, bob = colleague_of(team, "ada"), colleague_of(team, "bob")
    for person in (ada, bob):
        with contextlib.chdir(person.root):
            pull()
    change(ada, "one.txt", "c,d\n")
    change(bob, "two.txt", "fin\n")
    bob.must("git", "fetch", "-q", str(ada.root), "main")
    assert bob.run("git", "merge", "FETCH_HEAD").returncode == 1
    assert bob.run("git", "diff", "--name-only", "--diff-filter=U").stdout == "dvc.lock\n"
    bob.must("git", "checkout", "--ours", "dvc.lock")
    with contextlib.chdir(bob.root):
        pull(known=True)
    told = bob.run("dvc", "repro")
    assert told.returncode == 0, told.stderr
    assert "Stage 'one' is cached - skipping run" in told.stdout
    assert "Running stage 'two'" in told.stdout
    assert (bob.root / "data/two/table.csv").read_text() == "c,d\n" * 50 + "fin\n"
    with contextlib.chdir(bob.root):
        assert fsck() == 0


def test_F29_a_second_run_of_the_same_commit_proves_the_first(team: DvcProject) -> None:
    other = colleague_of(team)
    other.must("dvc", "repro", "-q", "--force")
    assert other.run("git", "status", "--porcelain").stdout == ""


def test_a_users_own_images_reach_a_colleague(team: DvcProject) -> None:
    """Git's and DVC's own lists of what to ignore decide whether DVC ever sees `data/raw/photos.dvc`."""
    for name in (".gitignore", ".dvcignore"):
        (team.root / name).write_bytes((ROOT / name).read_bytes())
    (team.root / "data/raw/photos/cat").mkdir(parents=True)
    (team.root / "data/raw/photos/cat/1.png").write_bytes(b"a picture")
    team.must("dvc", "add", "-q", "data/raw/photos")
    team.must("git", "add", "-A")
    assert team.run("git", "ls-files", "data/raw").stdout == "data/raw/photos.dvc\n"
    team.must("git", "commit", "-q", "-m", "Own images")
    with contextlib.chdir(team.root):
        push()
    other = colleague_of(team)
    with contextlib.chdir(other.root):
        pull()
    assert (other.root / "data/raw/photos/cat/1.png").read_bytes() == b"a picture"
