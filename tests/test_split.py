from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.artifacts import read_csv, read_json, write_csv, write_json, write_table
from stages.lib.assignment import PLACES
from stages.lib.errors import InputError
from stages.split import Params, run

DEFAULT: dict[str, Any] = {
    "salt": 0,
    "test_fraction": 0.2,
    "val_fraction": 0.1,
    "share_tolerance": 0.1,
    "min_per_class": 1,
    "rare_classes": "error",
}
TEXT = pa.string()


def params(**changes: Any) -> Params:
    return Params(**(DEFAULT | changes))


def split(
    root: Path, labels: Sequence[str | None], policy: Params | None = None, **columns: Any
) -> dict[str, Any]:
    """Run the stage on samples s0000, s0001, …; return its metrics, and places by position under "places"."""
    n = len(labels)
    ids = columns.get("ids", [f"s{k:04d}" for k in range(n)])
    table = {
        "sample_id": pa.array(ids, TEXT),
        "label": pa.array(labels, TEXT),
        "status": pa.array(columns.get("status", ["keep"] * n), TEXT),
        "reason": pa.array(columns.get("reason", [""] * n), TEXT),
        "group": pa.array(columns.get("group", [None] * n), TEXT),
        "split_hint": pa.array(columns.get("hint", [None] * n), TEXT),
    }
    write_table(root / "curate" / "samples.parquet", pa.table(table))
    near = columns.get("near", [None] * n)
    rows = [(sample_id, group) for sample_id, group in zip(ids, near, strict=True) if group is not None]
    groups = {"sample_id": [row[0] for row in rows], "group_id": [row[1] for row in rows]}
    write_table(
        root / "duplicates" / "groups.parquet", pa.table(groups, pa.schema([(k, TEXT) for k in groups]))
    )
    header = ("sample_id_a", "sample_id_b", "score", "kind", "label_a", "label_b")
    write_csv(root / "duplicates" / "pairs.csv", header, columns.get("pairs", []))
    write_json(root / "validate" / "verdict.json", {"passed": columns.get("passed", True)})
    folders = {name: root / name for name in ("curate", "duplicates", "validate")}
    metrics = run(policy or params(), **folders, out=root / "split")
    place = {row["sample_id"]: row["split"] for row in read_csv(root / "split" / "splits.csv")}
    return metrics | {"places": [place.get(sample_id) for sample_id in ids]}


def n_of(places: Sequence[str | None], labels: Sequence[str | None], name: str) -> dict[str, int]:
    of_class = [place for place, label in zip(places, labels, strict=True) if label == name]
    return {part: of_class.count(part) for part in PLACES}


def test_every_sample_is_named_once_and_shares_are_told(tmp_path: Path) -> None:
    labels: list[str | None] = ["cat", "dog", None, "owl", "=x"] * 100
    status = ["keep"] * 480 + ["neutral"] * 10 + ["drop"] * 10
    found = split(tmp_path, labels, status=status)
    assert found["places"][480:490] == ["neutral"] * 10
    assert found["places"][490:] == [None] * 10
    assert {p for p, label in zip(found["places"][:480], labels, strict=False) if label is None} == {
        "unlabelled"
    }
    assert read_json(tmp_path / "split" / "classes.json") == ["=x", "cat", "dog", "owl"]
    shares = read_csv(tmp_path / "split" / "shares.csv")
    assert [(row["class"], row["split"]) for row in shares[:3]] == [
        ("=x", "train"),
        ("=x", "val"),
        ("=x", "test"),
    ]
    assert sum(int(row["n"]) for row in shares) == sum(found["n"][part] for part in PLACES) == 384


def test_near_duplicates_and_user_groups_lie_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels: list[str | None] = [("cat", "dog")[k] for k in rng.integers(0, 2, 600)]
    near = [f"n{k}" if k < 150 else None for k in rng.integers(0, 300, 600)]
    group = [f"g{k}" if k < 40 else None for k in rng.integers(0, 80, 600)]
    found = split(tmp_path, labels, near=near, group=group)
    for column in (near, group):
        for name in set(column) - {None}:
            places = {p for p, own in zip(found["places"], column, strict=True) if own == name}
            assert len(places - {None}) <= 1
    assert found["n_units_of_several"] > 0
    assert found["n_straddling_units"] == 0


def test_tolerance_zero_gives_every_class_its_share_of_val(tmp_path: Path) -> None:
    labels: list[str | None] = [f"class {k % 20}" for k in range(600)]
    places = split(tmp_path, labels, params(share_tolerance=0.0))["places"]
    for name in set(labels):
        n = n_of(places, labels, name)
        assert (n["val"] >= 3 and n["train"] >= 21) or (n["test"] > 6 and n["val"] >= 1)


def test_the_same_bytes_on_every_run_and_for_every_order_of_rows(tmp_path: Path) -> None:
    ids = [f"s{k:04d}" for k in range(300)]
    labels: list[str | None] = [("cat", "dog")[k % 2] for k in range(300)]
    near = [f"n{k // 3}" for k in range(300)]
    split(tmp_path / "one", labels, ids=ids, near=near)
    split(tmp_path / "again", labels, ids=ids, near=near)
    for name in ("splits.csv", "classes.json", "shares.csv", "rare.csv", "moves.csv", "leaks.csv"):
        assert (tmp_path / "one/split" / name).read_bytes() == (tmp_path / "again/split" / name).read_bytes()
    turned = split(tmp_path / "turned", labels[::-1], ids=ids[::-1], near=near[::-1])["places"]
    place = {row["sample_id"]: row["split"] for row in read_csv(tmp_path / "one" / "split" / "splits.csv")}
    assert turned[::-1] == [place.get(sample_id) for sample_id in ids]


def test_l6_a_class_of_one_image_is_named_with_the_minimum_and_the_remedies(tmp_path: Path) -> None:
    labels = ["cat"] * 50 + ["dog"] * 50 + ["<owl>"]
    with pytest.raises(
        InputError, match=r"fewer than 2 samples(.|\n)*'<owl>': 1 samples(.|\n)*train_only(.|\n)*drop"
    ):
        split(tmp_path, labels, params(min_per_class=2))
    with pytest.raises(InputError, match=r"1 of 3 classes have fewer than 1 samples in a split"):
        split(tmp_path, labels)


@pytest.mark.parametrize(
    ("policy", "classes"), [("train_only", ["cat", "dog", "owl"]), ("drop", ["cat", "dog"])]
)
def test_l6_rare_classes_are_handled_as_asked_and_said(
    tmp_path: Path, policy: str, classes: list[str]
) -> None:
    labels: list[str | None] = ["cat"] * 50 + ["dog"] * 50 + ["owl"] * 2
    found = split(tmp_path, labels, params(rare_classes=policy))
    assert read_json(tmp_path / "split" / "classes.json") == classes
    assert found["places"][100:] == (["train"] * 2 if policy == "train_only" else [None] * 2)
    (told,) = read_csv(tmp_path / "split" / "rare.csv")
    placed = {"train": "2", "out": "0"} if policy == "train_only" else {"train": "0", "out": "2"}
    assert told == {"class": "owl", "val": "0", "test": "0"} | placed
    assert found["rare_classes"] == 1


def test_a_rare_sample_whose_companions_are_tested_sits_out(tmp_path: Path) -> None:
    labels: list[str | None] = ["cat"] * 50 + ["dog"] * 50 + ["owl"]
    plain = split(tmp_path / "plain", labels[:100])["places"]
    companion = plain.index("test")
    near: list[str | None] = [None] * 101
    near[companion] = near[100] = "n"
    # Which of the two leads is decided by their hashes; a rare sample in test, or beside one there, sits out.
    found = split(tmp_path, labels, params(rare_classes="train_only"), near=near)["places"]
    assert (found[companion], found[100]) in {("test", None), (None, "train")}


@pytest.mark.parametrize("labels", [["cat"] * 30, [], [None] * 5])
def test_l7_fewer_than_two_classes_is_an_error(tmp_path: Path, labels: list[str | None]) -> None:
    with pytest.raises(InputError, match="two classes or more"):
        split(tmp_path, labels)


def test_l7_a_class_in_one_group_cannot_be_in_every_split(tmp_path: Path) -> None:
    labels: list[str | None] = ["cat"] * 50 + ["dog"] * 50
    with pytest.raises(InputError, match=r"1 of 2 classes(.|\n)*cannot be parted(.|\n)*'dog': 50 samples"):
        split(tmp_path, labels, group=[None] * 50 + ["one sender"] * 50)


@settings(max_examples=30)
@given(st.integers(5, 12), st.integers(0, 5))
def test_classes_of_a_handful_are_in_every_split(
    tmp_path_factory: pytest.TempPathFactory, n: int, salt: int
) -> None:
    labels: list[str | None] = ["cat"] * n + ["dog"] * n
    found = split(tmp_path_factory.mktemp("split"), labels, params(salt=salt))
    assert all(min(n_of(found["places"], labels, name).values()) >= 1 for name in ("cat", "dog"))


def test_what_a_rule_changed_is_never_taken_into_test(tmp_path: Path) -> None:
    """Six owls without one in test: the floor takes the one that no rule touched."""
    labels: list[str | None] = ["cat"] * 30 + ["dog"] * 30 + ["owl"] * 6
    status, reason = ["keep"] * 66, [""] * 66
    for k in range(61, 66):
        status[k], reason[k] = "relabel", "label_errors"
    taken = 0
    for salt in range(12):
        bare = split(tmp_path / f"bare{salt}", labels, params(salt=salt, rare_classes="train_only"))["places"]
        if bare[60:] == ["train"] * 6:
            found = split(tmp_path / f"ruled{salt}", labels, params(salt=salt), status=status, reason=reason)
            assert found["places"][60] == "test"
            assert "test" not in found["places"][61:]
            taken += 1
    assert taken


def leaky_official(n: int = 200) -> tuple[list[str | None], dict[str, Any]]:
    """Return labels and columns: 60 official test samples, one of which has a near copy in train."""
    near: list[str | None] = [None] * n
    near[0] = near[100] = "leak"
    group: list[str | None] = [None] * n
    group[1] = group[101] = group[102] = "one sender"
    columns = {
        "hint": ["test" if k < 60 else "train" for k in range(n)],
        "near": near,
        "group": group,
        "pairs": [("s0000", "s0100", 0.75, "near", "cat", "cat")],
    }
    return ["cat", "dog"] * (n // 2), columns


def test_i20_an_official_split_is_honoured_and_its_leaks_are_listed(tmp_path: Path) -> None:
    labels, columns = leaky_official()
    found = split(tmp_path, labels, **columns)
    assert found["places"][:60] == ["test"] * 60
    assert "test" not in found["places"][60:]
    assert found["n"]["val"] > 0
    assert (found["n_leaked"], found["n_straddling_units"]) == ({"test": 2, "val": 0}, 2)
    leaks = [list(row.values()) for row in read_csv(tmp_path / "split" / "leaks.csv")]
    assert leaks == [
        ["s0000", "test", "s0100", "train", "near", "0.25"],
        ["s0001", "test", "s0101", "train", "group", ""],
    ]


def test_i20_without_an_official_split_nothing_leaks(tmp_path: Path) -> None:
    labels, columns = leaky_official()
    found = split(tmp_path, labels, **(columns | {"hint": [None] * 200}))
    assert (found["n_leaked"], found["n_straddling_units"]) == ({"test": 0, "val": 0}, 0)
    assert read_csv(tmp_path / "split" / "leaks.csv") == []


def test_an_unhinted_copy_of_an_official_sample_follows_it_or_sits_out(tmp_path: Path) -> None:
    labels, columns = leaky_official()
    columns["hint"][100] = None
    assert split(tmp_path, labels, **columns)["places"][100] in (None, "test")
    row = next(row for row in read_csv(tmp_path / "split" / "moves.csv") if row["sample_id"] == "s0100")
    assert (row["split"], row["why"], row["leader"]) == ("", "copy elsewhere", "s0000")


def test_copies_inside_an_official_train_part_never_part_over_val(tmp_path: Path) -> None:
    labels: list[str | None] = ["cat", "dog"] * 200
    hint = ["test" if k < 60 else "train" for k in range(400)]
    near = [None if k < 60 else f"n{k // 4}" for k in range(400)]
    found = split(tmp_path, labels, hint=hint, near=near, policy=params(val_fraction=0.3))
    assert found["n_straddling_units"] == 0
    assert found["n_sitting_out"] == 0


def test_l7_an_official_split_that_lacks_a_class_in_test_is_an_error(tmp_path: Path) -> None:
    labels: list[str | None] = ["cat"] * 50 + ["dog"] * 50
    hint = ["test" if k < 10 else "train" for k in range(100)]
    with pytest.raises(InputError, match=r"'dog': 50 samples, of which 0 in test"):
        split(tmp_path, labels, hint=hint)


def test_pretraining_gets_no_unlabelled_copy_of_a_test_image(tmp_path: Path) -> None:
    labels: list[str | None] = ["cat", "dog"] * 60 + [None] * 120
    near = [f"n{k % 120}" for k in range(240)]
    places = split(tmp_path, labels, near=near)["places"]
    for k in range(120):
        assert places[120 + k] == (None if places[k] == "test" else "unlabelled")


def test_data_that_did_not_pass_validation_is_not_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did not pass"):
        split(tmp_path, ["cat", "dog"] * 20, passed=False)


def test_fractions_that_leave_no_train_are_refused() -> None:
    with pytest.raises(ValueError, match="the rest is train"):
        params(test_fraction=0.6, val_fraction=0.4)
