"""Files are whole, the same for the same values, and inert in a spreadsheet."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.artifacts import atomic, read_csv, read_json, read_npy, write_csv, write_json, write_npy
from stages.lib.errors import MachineError

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


@settings(max_examples=200)
@given(st.lists(st.tuples(_text, _text), max_size=5))
def test_any_text_survives_a_csv(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write_csv(path, ["x", "y"], rows)
    assert [(row["x"], row["y"]) for row in read_csv(path)] == rows


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_N9_a_cell_that_a_spreadsheet_would_run_is_guarded(tmp_path: Path, start: str) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, ["class"], [[f"{start}HYPERLINK(1)"]])
    assert path.read_text(encoding="utf-8").splitlines()[1].lstrip('"').startswith("'")
    assert read_csv(path) == [{"class": f"{start}HYPERLINK(1)"}]


def test_negative_numbers_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(path, ["x", "y"], [[-1, np.float32(-0.5)]])
    assert path.read_text(encoding="utf-8") == "x,y\n-1,-0.5\n"


def fail_in_the_middle(path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("in the middle")


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": True})
    with pytest.raises(RuntimeError, match="in the middle"):
        fail_in_the_middle(path)
    assert read_json(path) == {"old": True}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_it_has_no_word_for(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})


def test_json_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1, "b": 2})
    write_json(tmp_path / "b.json", {"b": 2, "a": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_objects_that_need_pickle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        write_npy(tmp_path / "a.npy", np.array([{}], dtype=object))
    write_npy(tmp_path / "b.npy", np.arange(3))
    assert read_npy(tmp_path / "b.npy", mmap=True).tolist() == [0, 1, 2]


def test_f12_f13_a_full_disk_is_named_with_its_file_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "facts.json"
    write_json(path, {"a": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match=r"facts.json: no space left to write it"):
        write_json(path, {"a": 2})
    monkeypatch.undo()
    assert read_json(path) == {"a": 1}
    assert [found.name for found in tmp_path.iterdir()] == ["facts.json"]
