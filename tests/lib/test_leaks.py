from pathlib import Path

import numpy as np

from stages.lib.duplicate_findings import FoundPair
from stages.lib.leaks import Leak, find_leaks, leaked_test_ids, write_leaks

IDS = ["a", "b", "c", "d", "e"]
NO_GROUP: list[str | None] = [None] * 5


def test_the_closest_copy_in_each_other_part_is_named(tmp_path: Path) -> None:
    names = np.array(["test", "train", "train", "val", ""])
    pairs = [FoundPair(0, 1, 0.8, "near"), FoundPair(0, 2, 0.875, "near"), FoundPair(0, 3, 1.0, "judged")]
    found = find_leaks(IDS, names, ["n"] * 4 + [None], NO_GROUP, pairs)
    assert found == [
        Leak("a", "test", "c", "train", "near", 0.125),
        Leak("a", "test", "d", "val", "judged", 0.0),
        Leak("d", "val", "b", "train", "chain", None),
    ]
    write_leaks(tmp_path / "leaks.csv", found)
    assert leaked_test_ids(tmp_path / "leaks.csv") == {"a"}


def test_exact_copies_are_leaks_though_they_are_paired_with_one_of_their_set_only() -> None:
    names = np.array(["val", "test", "train", "", ""])
    star = [FoundPair(0, 1, 1.0, "exact"), FoundPair(0, 2, 1.0, "exact")]
    found = find_leaks(IDS, names, ["n"] * 3 + [None, None], NO_GROUP, star)
    assert Leak("b", "test", "c", "train", "exact", 0.0) in found


def test_a_sample_that_sits_out_leaks_nothing() -> None:
    names = np.array(["test", "", "test", "neutral", "unlabelled"])
    assert find_leaks(IDS, names, ["n"] * 5, ["g"] * 5, []) == []
