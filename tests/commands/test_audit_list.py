from pathlib import Path

import pytest
from made_run import small_run

from stages.commands.audit import audit
from stages.lib.artifacts import read_csv, write_csv
from stages.lib.errors import InputError


def test_an_audit_lists_test_images_alone_without_their_labels_and_grows_without_losing_answers(
    tmp_path: Path,
) -> None:
    made = small_run(tmp_path / "data")
    test = {name for name, split in zip(made.sample_ids, made.split, strict=True) if split == "test"}
    review = tmp_path / "review"
    assert audit(5, made.root, review) == 5
    rows = read_csv(review / "audit.csv")
    assert {row["sample_id"] for row in rows} <= test
    assert all(row["label"] == "" and row["source"].endswith(".png") for row in rows)
    rows[0]["label"] = "cat"
    write_csv(review / "audit.csv", tuple(rows[0]), [tuple(row.values()) for row in rows])
    assert audit(1000, made.root, review) == len(test) - 5
    grown = read_csv(review / "audit.csv")
    assert {row["sample_id"] for row in grown} == test
    assert grown[:5] == rows


def test_before_there_is_a_test_set_there_is_nothing_to_audit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make repro"):
        audit(5, tmp_path, tmp_path)
