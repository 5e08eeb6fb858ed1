from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.lib.artifacts import write_csv, write_table
from stages.lib.duplicate_findings import FoundPair, exact_clusters, near_distances, near_groups, read_pairs
from stages.lib.errors import InputError

HEADER = ["sample_id_a", "sample_id_b", "score", "kind", "label_a", "label_b"]


def test_groups_and_distances_follow_the_order_asked_for(tmp_path: Path) -> None:
    columns = {"sample_id": ["b", "c"], "group_id": ["b", "b"], "distance": [0.25, 0.5]}
    write_table(tmp_path / "groups.parquet", pa.table(columns))
    assert near_groups(tmp_path, ["c", "a", "b"]) == ["b", None, "b"]
    np.testing.assert_array_equal(near_distances(tmp_path, ["c", "a", "b"]), [0.5, np.nan, 0.25])


def test_pairs_become_positions(tmp_path: Path) -> None:
    write_csv(tmp_path / "pairs.csv", HEADER, [("=a", "b", 0.5, "near", "1", "2")])
    assert read_pairs(tmp_path / "pairs.csv", ["b", "x", "=a"]) == [FoundPair(2, 0, 0.5, "near")]


def test_pairs_of_another_manifest_are_refused(tmp_path: Path) -> None:
    write_csv(tmp_path / "pairs.csv", HEADER, [("a", "z", 1.0, "exact", "1", "1")])
    with pytest.raises(InputError, match="1 pairs name samples the manifest lacks"):
        read_pairs(tmp_path / "pairs.csv", ["a"])


def test_exact_clusters_join_pairs_with_one_stand_in_and_leave_near_ones_out() -> None:
    pairs = [FoundPair(4, 1, 1.0, "exact"), FoundPair(4, 6, 1.0, "exact"), FoundPair(1, 0, 0.9, "near")]
    assert list(exact_clusters(pairs, 7)) == [[1, 4, 6]]
    assert list(exact_clusters(pairs[2:], 7)) == []
