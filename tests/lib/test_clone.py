"""Clones may share a state folder (`ASSAY_STATE`); what is one clone's alone stays apart."""

from pathlib import Path

import pytest

from stages.lib.clone import clone_folder
from stages.lib.lock import only_one
from stages.lib.mirror import clone_id
from stages.lib.state import DEFAULT, state_folder


def test_clones_that_share_a_state_folder_have_a_lock_and_an_id_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = []
    for name in ("ada", "bob", "ada"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        ids.append(clone_id())
    assert ids[0] == ids[2] != ids[1]
    with only_one(clone_folder() / "repro.lock", "this clone"):
        monkeypatch.chdir(tmp_path / "bob")
        with only_one(clone_folder() / "repro.lock", "this clone"):
            pass


def test_a_state_folder_inside_the_clone_is_all_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASSAY_STATE")
    assert clone_folder() == state_folder() == tmp_path / DEFAULT
