"""What an interruption leaves is explained with the way back, and mended where nothing can be lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stages.commands.check import check
from stages.commands.doctor import doctor, findings
from stages.lib.errors import InputError
from stages.lib.journal import outbox
from stages.lib.lock_faults import in_conflict, lock_faults
from stages.lib.yaml_file import read_yaml
from tests.dvc_project import DvcProject


def told() -> list[str]:
    return [finding.what for finding in findings()]


def test_a_sound_clone_has_nothing_to_mend(team: DvcProject, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor() == 0
    assert "nothing was left behind" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_F18_a_cut_list_of_readers_and_writers_is_found_and_removed(team: DvcProject, content: str) -> None:
    path = team.root / ".dvc" / "tmp" / "rwlock"
    path.write_text(content)
    assert [what.startswith(".dvc/tmp/rwlock") for what in told()] == [True]
    assert doctor(mend=True) == 0
    assert team.run("dvc", "status").returncode == 0


def test_F19_every_prefix_of_the_lock_is_called_cut_and_the_whole_is_not(team: DvcProject) -> None:
    lock, declared = team.root / "dvc.lock", read_yaml(team.root / "dvc.yaml")["stages"]
    content = lock.read_bytes()
    assert lock_faults(lock, declared) == []
    sound = []
    for length in range(len(content)):
        lock.write_bytes(content[:length])
        if not lock_faults(lock, declared):
            sound.append(length)
    assert sound == []


def test_F19_a_cut_lock_comes_back_from_git(team: DvcProject) -> None:
    lock = team.root / "dvc.lock"
    content = lock.read_bytes()
    lock.write_bytes(content[:200])
    assert doctor(mend=True) == 0
    assert lock.read_bytes() == content


def test_F28_a_merge_in_progress_is_explained_and_stops_a_run(team: DvcProject) -> None:
    lock = team.root / "dvc.lock"
    marked = lock.read_text().replace("  two:", "<<<<<<< HEAD\n  two:\n=======\n  two:\n>>>>>>> other\n", 1)
    lock.write_text(marked)
    assert told() == ["dvc.lock holds the marks of an unfinished merge: nothing can read it"]
    with pytest.raises(InputError, match=r"dvc.lock: marks of an unfinished merge; resolve them"):
        check()


def test_F28_a_real_conflict_of_two_people_is_recognised(team: DvcProject) -> None:
    def change(word: str) -> None:
        (team.root / "two.txt").write_text(word)
        team.must("dvc", "repro", "-q")
        team.must("git", "commit", "-q", "-a", "-m", word)

    team.must("git", "checkout", "-q", "-b", "other")
    change("fin")
    team.must("git", "checkout", "-q", "main")
    change("stop")
    assert team.run("git", "merge", "other").returncode == 1
    assert in_conflict(team.root / "dvc.lock")


def test_text_that_only_resembles_a_conflict_is_none(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a\n=======\nb\n")
    assert not in_conflict(tmp_path / "table.csv")


def test_F12_half_written_objects_are_counted_and_removed(team: DvcProject) -> None:
    left = team.root / ".dvc" / "cache" / "files" / "md5" / "ab" / ".Xy.tmp"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"half")
    assert [what.startswith("1 half-written file(s), 4 bytes") for what in told()] == [True]
    assert doctor(mend=True) == 0
    assert not left.exists()


def test_outputs_that_are_gone_come_back_from_the_cache(team: DvcProject) -> None:
    (team.root / "data/two/table.csv").unlink()
    assert told() == ["1 recorded output(s) are not in the workspace, such as data/two/table.csv"]
    assert doctor(mend=True) == 0
    assert (team.root / "data/two/table.csv").exists()


def test_records_that_wait_and_a_half_made_bundle_are_named(team: DvcProject) -> None:
    (outbox() / "a").mkdir(parents=True)
    (team.root / "data/release/.bundle.new").mkdir(parents=True)
    assert [what.split()[0] for what in told()] == ["1", "data/release/.bundle.new"]
    assert doctor(mend=True) == 1


def test_F17_a_number_given_to_another_program_since_holds_nobody_up(team: DvcProject) -> None:
    """A container starts again, and what was DVC's process number is somebody else's."""
    other = subprocess.Popen(["sleep", "60"])
    path = team.root / ".dvc" / "tmp" / "rwlock"
    holder = {"pid": other.pid, "cmd": "dvc repro"}
    path.write_text(json.dumps({"write": {str(team.root / "data/one/rows.csv"): holder}, "read": {}}))
    try:
        held_up = team.run("dvc", "repro", "--force", "one")
        assert held_up.returncode != 0, "what DVC (3.67) does; where it no longer does, this may go"
        assert str(other.pid) in held_up.stderr
        (what,) = told()
        assert f"process {other.pid} runs DVC here, which it does not" in what
        assert doctor(mend=True) == 0
        assert team.run("dvc", "repro", "--force", "one").returncode == 0
    finally:
        other.kill()
        other.wait()


def test_F17_a_process_that_is_dvc_is_left_alone(team: DvcProject) -> None:
    running = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "dvc", "repro"])
    path = team.root / ".dvc" / "tmp" / "rwlock"
    content = json.dumps({"read": {"a": [{"pid": running.pid, "cmd": "dvc repro"}]}, "write": {}})
    path.write_text(content)
    try:
        assert doctor(mend=True) == 0
        assert path.read_text() == content
    finally:
        running.kill()
        running.wait()
