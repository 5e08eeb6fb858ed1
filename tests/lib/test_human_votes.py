from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.lib.errors import InputError
from stages.lib.human_counts import with_order
from stages.lib.human_votes import read_votes
from stages.lib.label_roles import with_neutral_labels

MANIFEST = pa.table(
    {
        "sample_id": ["s0", "s1", "s2"],
        "label": ["cat", "dog", "unsure"],
        "annotator_ann": ["cat", None, "unsure"],
        "human_counts": pa.array([[3, 1], None, [0, 2]], pa.list_(pa.int32())),
    }
)
CLASSES = ("cat", "dog")


def manifest() -> pa.Table:
    return with_order(with_neutral_labels(MANIFEST, ["unsure"]), ("dog", "cat"))


def write(folder: Path, *rows: str) -> Path:
    folder.joinpath("annotations.csv").write_text("\n".join(["sample_id,annotator,label", *rows, ""]))
    return folder


def test_all_places_are_read_and_added_up(tmp_path: Path) -> None:
    votes = read_votes(manifest(), write(tmp_path, "s1,bob,dog", "s0,ann,dog", "s2,bob,"), CLASSES)
    assert votes.names == ("ann", "bob")
    assert votes.said.tolist() == [[1, -1], [-1, 1], [-1, -1]]  # ann changed her mind in the file
    assert votes.unnamed.tolist() == [[1, 3], [0, 0], [2, 0]]
    assert votes.counts.tolist() == [[1, 4], [0, 1], [2, 0]]
    assert votes.of(np.array([1])).counts.tolist() == [[0, 1]]


def test_a_later_row_replaces_an_earlier_one_and_neutral_is_no_vote(tmp_path: Path) -> None:
    rows = ("s0,bob,cat", "s0,bob,dog", "s1,bob,cat", "s1,bob,unsure")
    votes = read_votes(manifest(), write(tmp_path, *rows), CLASSES)
    assert votes.said[:, 1].tolist() == [1, -1, -1]


def test_without_any_place_there_are_no_votes(tmp_path: Path) -> None:
    votes = read_votes(MANIFEST.select(["sample_id", "label"]), tmp_path / "none", CLASSES)
    assert votes.names == ()
    assert votes.counts.tolist() == [[0, 0]] * 3


def test_every_fault_is_told_with_its_row(tmp_path: Path) -> None:
    folder = write(tmp_path, "s9,bob,cat", "s0, ,cat", "s0,bob,horse", "s1,bob,dog")
    with pytest.raises(InputError, match=r"3 fault\(s\)") as caught:
        read_votes(manifest(), folder, CLASSES)
    for told in ("row 2: unknown sample_id 's9'", "row 3: nobody", "row 4: unknown label 'horse'"):
        assert told in str(caught.value)
