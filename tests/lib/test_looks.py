import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stages.lib import looks
from stages.lib.state import state_folder
from stages.lib.truth import Entry, Truth


def scored(quality: float, names: tuple[str, ...] = ("a", "b", "c")) -> dict:
    truth = Truth(names, np.array(["val", "test", "test"]), np.zeros(3, np.int64), np.arange(3), ("x", "y"))
    probs = np.array([[quality, 1 - quality]] * 3, np.float32)
    return looks.describe(truth, {"seed0": Entry("seed0", np.arange(3), probs)})


def test_other_predictions_are_another_look_and_the_same_ones_are_none() -> None:
    for quality in (0.7, 0.8, 0.7, 0.7):
        looks.note(scored(quality))
    assert len(looks.noted(scored(0.7)["digest"])) == 2


def test_another_test_set_starts_anew_and_val_does_not_belong_to_it() -> None:
    looks.note(scored(0.7))
    other = scored(0.7, ("a", "b", "d"))
    assert looks.noted(other["digest"]) == set()
    assert scored(0.7, ("z", "b", "c"))["digest"] == scored(0.7)["digest"]


def test_a_line_that_was_cut_off_is_passed_over() -> None:
    looks.note(scored(0.7))
    with (state_folder() / looks.FILE).open("a") as file:
        file.write('{"digest": "ab')
    assert len(looks.noted(scored(0.7)["digest"])) == 1


def test_versions_in_git_count_though_the_state_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    metrics = Path("data/evaluate/metrics.json")
    assert looks.committed("d", metrics) == set()
    subprocess.run(["git", "init", "-q"], check=True)
    metrics.parent.mkdir(parents=True)
    for name in ("one", "two", "two"):
        metrics.write_text(json.dumps({"test_set": {"digest": "d", "scored": name, "n": 2}}))
        subprocess.run(["git", "add", "."], check=True)
        who = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", name], check=True)
    assert looks.committed("d", metrics) == {"one", "two"}
    assert looks.committed("e", metrics) == set()


def test_the_sentence_says_what_picking_by_test_could_flatter() -> None:
    assert "once" in looks.sentence(1, {"n": 352}, 0.9)
    told = looks.sentence(10, {"n": 400}, 0.9)
    assert "10 times" in told
    assert "3.2 points" in told
