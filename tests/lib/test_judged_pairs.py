from pathlib import Path

import numpy as np
import pytest

from stages.lib.errors import InputError
from stages.lib.judged_pairs import Judgments, read_judgments

IDS = ["b", "a", "c", "=d"]
PIXELS = np.array([1, 2, 2, 3], np.uint8).reshape(4, 1, 1, 1)
HEADER = "sample_id_a,sample_id_b,judgment,who,when,note\n"


def read(folder: Path, rows: str) -> Judgments:
    (folder / "pairs.csv").write_text(HEADER + rows, encoding="utf-8")
    return read_judgments(folder, IDS, PIXELS)


@pytest.mark.parametrize("text", [None, HEADER])
def test_no_file_and_no_row_say_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "pairs.csv").write_text(text)
    assert read_judgments(tmp_path, IDS, PIXELS) == Judgments((), ())


def test_a_pair_is_one_pair_either_way_round_and_its_last_row_counts(tmp_path: Path) -> None:
    rows = "b,a,different,Ada,,\na,b, Same ,Ben,,\nc,'=d,different,Ada,2026-01-01,a guarded cell\n"
    assert read(tmp_path, rows) == Judgments(same=((1, 0),), different=((3, 2),))


def test_all_faulty_rows_are_listed_at_once(tmp_path: Path) -> None:
    rows = "x,y,same,,,\na,a,same,,,\na,b,similar,,,\na,c,different,,,\na,b,same,,,\n"
    with pytest.raises(InputError) as caught:
        read(tmp_path, rows)
    assert str(caught.value).splitlines()[1:] == [
        "  row 2: unknown sample_id 'x' and 'y'",
        "  row 3: 'a' is paired with itself",
        "  row 4: unknown judgment 'similar'; known: same, different",
        "  row 5: 'a' and 'c' hold the same pixels: they cannot be 'different'",
    ]


def test_judgments_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 4: 'different', but rows that say 'same' join the two"):
        read(tmp_path, "a,b,same,,,\nb,=d,same,,,\na,=d,different,,,\n")
