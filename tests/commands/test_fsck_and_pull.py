"""What DVC believes is hashed, in workspace, cache and remote; nothing unsound is checked out."""

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from stages.commands.fsck import fsck
from stages.commands.pull import NotSoundError, pull
from tests.dvc_project import DvcProject, colleague_of


def recorded(team: DvcProject, path: str) -> str:
    """Return the digest that dvc.lock records for an output."""
    lock = yaml.safe_load((team.root / "dvc.lock").read_text())
    outs = [out for stage in lock["stages"].values() for out in stage["outs"]]
    return str(next(out["md5"] for out in outs if out["path"] == path))


def flip(path: Path) -> None:
    """Flip one bit of a file, whatever its mode; size and times stay."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_sound_clone_is_called_sound(team: DvcProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert fsck("team") == 0
    assert "5 files are as recorded in workspace, cache, remote team" in capsys.readouterr().out


@pytest.mark.parametrize(
    "path", ["data/one/rows.csv", "data/one/pages/deep/style.css", "data/one/metrics.json"]
)
def test_F21_a_change_that_keeps_size_and_time_is_found_in_the_workspace(
    team: DvcProject, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    flip(team.root / path)
    assert fsck() == 1
    told = capsys.readouterr().out
    assert f"workspace: {path} (stage one) has other bytes than recorded" in told
    assert told.count("workspace:") == 1


def test_F24_a_corrupt_object_is_named_with_its_file_and_stage_and_mended(
    team: DvcProject, capsys: pytest.CaptureFixture[str]
) -> None:
    oid = recorded(team, "data/two/table.csv")
    flip(team.object_path(oid))
    assert fsck() == 1
    told = capsys.readouterr().out
    assert "cache: data/two/table.csv (stage two) is stored with other bytes" in told
    assert str(team.object_path(oid)) in told
    assert "a sound copy is in workspace" in told
    assert fsck(mend=True) == 0
    assert hashlib.md5(team.object_path(oid).read_bytes()).hexdigest() == oid
    assert team.object_path(oid).stat().st_mode & 0o777 == 0o444


def test_a_file_that_is_wrong_everywhere_but_in_the_remote_is_brought_from_there(team: DvcProject) -> None:
    oid = recorded(team, "data/one/rows.csv")
    flip(team.object_path(oid))
    flip(team.root / "data/one/rows.csv")
    assert fsck(mend=True) == 1
    flip(team.root / "data/one/rows.csv")
    flip(team.root / "data/one/rows.csv")
    assert fsck("team", mend=True) == 0
    assert (team.root / "data/one/rows.csv").read_text() == "a,b\n" * 50
    assert team.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."


def test_F25_a_corrupt_object_in_the_remote_is_found_and_replaced(
    team: DvcProject, capsys: pytest.CaptureFixture[str]
) -> None:
    oid = recorded(team, "data/two/table.csv")
    flip(team.object_path(oid, remote=True))
    assert fsck() == 0
    assert fsck("team") == 1
    assert "remote team: data/two/table.csv (stage two)" in capsys.readouterr().out
    assert fsck("team", mend=True) == 0


def test_a_stranger_in_a_recorded_folder_is_named(
    team: DvcProject, capsys: pytest.CaptureFixture[str]
) -> None:
    (team.root / "data/one/pages/evil.html").write_text("x")
    assert fsck() == 1
    assert "data/one/pages/evil.html (stage one) is in a recorded folder, but not recorded" in (
        capsys.readouterr().out
    )


def test_a_colleague_pulls_and_computes_nothing(team: DvcProject) -> None:
    other = colleague_of(team)
    with contextlib.chdir(other.root):
        pull()
        assert fsck() == 0
    assert "Running stage" not in other.run("dvc", "repro").stdout


@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_F25_what_the_remote_lost_or_changed_is_named_and_nothing_is_checked_out(
    team: DvcProject, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    oid = recorded(team, "data/two/table.csv")
    path = team.object_path(oid, remote=True)
    flip(path) if damage == "flip" else path.unlink()
    other = colleague_of(team)
    with contextlib.chdir(other.root), pytest.raises(NotSoundError, match="left as it is"):
        pull()
    assert "data/two/table.csv (stage two)" in capsys.readouterr().out
    assert not list((other.root / "data").rglob("*.csv"))


def test_F27_a_tree_that_leads_outside_is_refused_before_anything_is_checked_out(
    team: DvcProject, capsys: pytest.CaptureFixture[str]
) -> None:
    oid = recorded(team, "data/one/pages")
    entries = json.loads(team.object_path(oid, remote=True).read_text())
    entries[0]["relpath"] = "../../../../outside.txt"
    content = json.dumps(entries, sort_keys=True).encode()
    crafted = hashlib.md5(content).hexdigest() + ".dir"
    place = team.object_path(crafted, remote=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    lock = team.root / "dvc.lock"
    lock.write_text(lock.read_text().replace(oid, crafted))
    team.must("git", "commit", "-q", "-a", "-m", "Crafted")
    other = colleague_of(team)
    with contextlib.chdir(other.root), pytest.raises(NotSoundError):
        pull()
    assert "'../../../../outside.txt' leads elsewhere" in capsys.readouterr().out
    assert not list(team.root.parent.parent.rglob("outside.txt"))
    assert not list((other.root / "data").rglob("*.csv"))


def test_F27_a_link_in_place_of_a_folder_is_not_written_through(team: DvcProject, tmp_path: Path) -> None:
    other = colleague_of(team)
    shutil.rmtree(other.root / "data" / "two", ignore_errors=True)
    (tmp_path / "elsewhere").mkdir()
    (other.root / "data" / "two").symlink_to(tmp_path / "elsewhere")
    with contextlib.chdir(other.root), pytest.raises(NotSoundError, match="is a link"):
        pull()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_F26_an_unreachable_remote_leaves_the_workspace_and_the_next_pull_completes(team: DvcProject) -> None:
    other = colleague_of(team)
    team.remote.rename(team.remote.with_name("away"))
    with contextlib.chdir(other.root):
        with pytest.raises(NotSoundError):
            pull()
        assert not list((other.root / "data").rglob("*.csv"))
        team.remote.with_name("away").rename(team.remote)
        pull()
        assert fsck() == 0
