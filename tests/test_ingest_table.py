"""`ingest.source: table`: what becomes of every row, every file, and every way in which a table is wrong."""

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.baseline import human
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError
from stages.lib.image_store import read_pixels
from stages.lib.label_roles import labels_made_of_votes, neutral_labels
from tests.ingest_project import Project
from tests.table_fixture import picture, write_csv_table, write_files, write_parquet_table

TEMPLATE = "images/{file}"


class Tables(Project):
    """A project whose source is a table."""

    def table(self, header: str, *rows: str, **changes: Any) -> dict[str, Any]:
        """Run on a CSV table whose cells are split at commas."""
        self.set.joinpath("t.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
        return self.read("t.csv", **({"image": TEMPLATE, "label": "label"} | changes))

    def read(self, name: str, **changes: Any) -> dict[str, Any]:
        return self.run(**({"source": "table", "path": str(self.set / name)} | changes))

    def parquet(self, columns: dict[str, Any], n: int, **changes: Any) -> dict[str, Any]:
        write_parquet_table(self.set / "t.parquet", columns, n)
        return self.read("t.parquet", **({"image": "image"} | changes))

    def files(self, *names: str) -> None:
        write_files(self.set / "images", names)

    def refused(self, header: str, *rows: str, **changes: Any) -> str:
        with pytest.raises(InputError) as caught:
            self.table(header, *rows, **changes)
        assert list(self.out.iterdir()) == []
        return str(caught.value)

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.manifest()]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


# ---- what is taken in


def test_a_csv_of_files_is_taken_in_with_every_column_in_its_place(tables: Tables) -> None:
    tables.files("a.png", "b.jpg", "c.png")
    metrics = tables.table(
        "key,file,label,who,part,other",
        "k1,a.png,cat,ann,Training,1",
        "k2,b.jpg,dog,,test,2",
        "k3,c.png,,ann,,3",
        id="key",
        group="who",
        split="part",
    )
    assert tables.column("sample_id") == ["k1", "k2", "k3"]
    assert tables.column("label") == ["cat", "dog", None]
    assert tables.column("group") == ["ann", None, "ann"]
    assert tables.column("split_hint") == ["train", "test", None]
    assert tables.column("source") == ["images/a.png", "images/b.jpg", "images/c.png"]
    assert read_pixels(tables.out).sample_ids == ("k1", "k2", "k3")
    assert (metrics["n_unlabelled"], metrics["n_groups"]) == (1, 1)
    assert metrics["split_hints"] == {"train": 1, "test": 1}
    digest = hashlib.sha256((tables.set / "images/a.png").read_bytes()).hexdigest()
    assert tables.column("sha256")[0] == digest


@pytest.mark.parametrize("form", ["struct", "binary", "large_binary"])
def test_encoded_images_in_a_column_are_taken_in(tables: Tables, form: str) -> None:
    images = [picture(number) for number in range(70)]
    kinds = {"binary": pa.binary(), "large_binary": pa.large_binary()}
    column = (
        pa.array([{"bytes": data, "path": "../x.png"} for data in images])
        if form == "struct"
        else pa.array(images, kinds[form])
    )
    write_parquet_table(tables.set / "t.parquet", {"image": column, "label": [str(n % 3) for n in range(70)]})
    assert tables.read("t.parquet", image="image", label="label")["n_accepted"] == 70
    assert tables.column("source")[:2] == ["t.parquet:1", "t.parquet:2"]
    assert tables.column("sample_id") == [hashlib.sha256(data).hexdigest()[:16] for data in images]
    assert {row["findings"] for row in tables.manifest()} == {""}


def test_the_same_files_give_the_same_pixels_from_csv_parquet_paths_and_bytes(tables: Tables) -> None:
    names = [f"{number}.png" for number in range(5)]
    tables.files(*names)
    stored = []
    tables.table("file,label", *[f"{name},x" for name in names])
    stored.append(read_pixels(tables.out))
    write_parquet_table(tables.set / "t.parquet", {"file": names})
    tables.read("t.parquet", image=TEMPLATE)
    stored.append(read_pixels(tables.out))
    write_parquet_table(tables.set / "t.parquet", {"file": [f"images/{name}" for name in names]})
    tables.read("t.parquet", image="file")
    stored.append(read_pixels(tables.out))
    data = [(tables.set / "images" / name).read_bytes() for name in names]
    write_parquet_table(tables.set / "t.parquet", {"image": pa.array(data, pa.binary())})
    tables.read("t.parquet", image="image")
    stored.append(read_pixels(tables.out))
    for other in stored[1:]:
        assert other.sample_ids == stored[0].sample_ids
        np.testing.assert_array_equal(other.array, stored[0].array)


def test_a_template_may_use_several_columns(tables: Tables) -> None:
    tables.files("train/1.png", "test/1.png")
    tables.table("part,n,label", "train,1,a", "test,1,b", image="images/{part}/{n}.png", split="part")
    assert tables.column("source") == ["images/train/1.png", "images/test/1.png"]


def test_whole_numbers_truth_values_and_dictionaries_become_text(tables: Tables) -> None:
    columns = {"n": pa.array([1, 10, None], pa.int8()), "d": pa.array(["x", None, ""]).dictionary_encode()}
    tables.parquet(columns | {"b": [True, False, None]}, 3, label="n", group="d", id="")
    assert tables.column("label") == ["1", "10", None]
    assert tables.column("group") == ["x", None, None]
    tables.parquet(columns | {"b": [True, False, None]}, 3, label="b")
    assert tables.column("label") == ["true", "false", None]


def test_a_hugging_face_class_label_becomes_its_names(tables: Tables) -> None:
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    path = write_parquet_table(tables.set / "t.parquet", {"label": [1, 0, -1]}, 3)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(metadata), path)
    tables.read("t.parquet", image="image", label="label")
    assert tables.column("label") == ["dog", "cat", None]
    wrong = table.set_column(1, "label", pa.array([1, 2, 0]))
    pq.write_table(wrong.replace_schema_metadata(metadata), path)
    with pytest.raises(InputError, match=r"row 2: label_type: column 'label' is 2, its metadata name 0 … 1"):
        tables.read("t.parquet", image="image", label="label")


def test_the_same_table_gives_the_same_bytes(tables: Tables) -> None:
    tables.files("a.png", "b.png", "extra.png")
    digests = []
    for _ in range(2):
        tables.table("file,label", "a.png,x", "b.png,y", "c.png,y", max_quarantine_fraction=1.0)
        digests.append({path.name: path.read_bytes() for path in sorted(tables.out.iterdir())})
    assert digests[0] == digests[1]


# ---- labels


def test_labels_come_from_annotators_where_there_is_no_label(tables: Tables) -> None:
    votes = {
        "annotator_1": ["cat", "cat", "cat", None, "dog"],
        "ann": ["cat", "dog", "dog", None, None],
        "c": ["cat", "dog", "owl", None, None],
    }
    metrics = tables.parquet(votes, 5, annotators=("annotator_1", "ann", "c"))
    assert tables.column("label") == ["cat", "dog", None, None, "dog"]
    assert tables.column("annotator_ann") == votes["ann"]
    assert tables.column("annotator_c") == votes["c"]
    assert metrics["findings"] == {"annotators_disagree": 1, "annotators_tie": 1}
    assert metrics["n_unlabelled"] == 2
    label = ["owl", None, "owl", None, None]
    metrics = tables.parquet(
        votes | {"label": label}, 5, annotators=("annotator_1", "ann", "c"), label="label"
    )
    assert tables.column("label") == ["owl", "dog", "owl", None, "dog"]
    assert metrics["findings"]["label_from_annotators"] == 2


def test_the_manifest_says_whether_annotators_are_the_only_source_of_labels(tables: Tables) -> None:
    votes = {"a": ["cat", "dog"], "b": ["cat", "cat"]}
    tables.parquet(votes, 2, annotators=("a", "b"))
    assert labels_made_of_votes(pq.read_table(tables.out / "manifest.parquet"))
    tables.parquet(votes | {"label": ["cat", None]}, 2, annotators=("a", "b"), label="label")
    assert not labels_made_of_votes(pq.read_table(tables.out / "manifest.parquet"))


def test_annotators_make_the_human_baseline_work(tables: Tables) -> None:
    votes = {name: [*"aabb"] for name in ("one", "two", "three")}
    tables.parquet(votes, 4, annotators=("one", "two", "three"))
    ids = tuple(tables.column("sample_id"))
    split = np.array(["test"] * 4)
    dataset = Dataset(ids, np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 0, 1, 1]), split, ("a", "b"))
    even = np.full((4, 2), 0.5)
    figures, predictions = human(tables.out / "manifest.parquet", tables.out / "none", dataset, even)
    assert (figures["measured"], figures["agreement_with_others"]) == (True, 1.0)
    assert predictions is not None
    np.testing.assert_array_equal(predictions.pred_probs, [[1, 0], [1, 0], [0, 1], [0, 1]])


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_counts_of_votes_make_the_human_baseline_work(tables: Tables, kind: str) -> None:
    counts: list[Any] = [[9, 1], [10, 0], [2, 8], None]
    if kind == "parquet":
        tables.parquet({"label": [*"baab"], "votes": counts}, 4, label="label", human_counts="votes")
    else:
        tables.files("1.png", "2.png", "3.png", "4.png")
        cells = [f'"{cell}"' if cell else "" for cell in counts]
        rows = [
            f"{row}.png,{label},{cell}"
            for row, (label, cell) in enumerate(zip("baab", cells, strict=True), 1)
        ]
        tables.table("file,label,votes", *rows, human_counts="votes")
    assert tables.column("human_counts") == counts
    ids = tuple(tables.column("sample_id"))
    dataset = Dataset(
        ids, np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 1, 0]), np.array(["test"] * 4), ("b", "a")
    )
    even = np.full((4, 2), 0.5)
    figures, predictions = human(tables.out / "manifest.parquet", tables.out / "none", dataset, even)
    assert predictions is not None
    # The numbers are in the labels' order a, b; the data set's classes are b, a.
    np.testing.assert_allclose(predictions.pred_probs, [[0.1, 0.9], [0, 1], [0.8, 0.2]], atol=1e-6)
    assert figures["agreement_with_others"] == pytest.approx(27 / 30)
    assert figures["against_labels"] == {"n_samples": 3, "n_votes": 30, "agreement": pytest.approx(13 / 30)}


def test_counts_that_are_none_are_told_by_their_row(tables: Tables) -> None:
    said = tables.refused(
        "file,label,votes",
        '1.png,a,"[1, 2]"',
        '2.png,b,"[1, -2]"',
        '3.png,b,"[1, 2, 3]"',
        human_counts="votes",
    )
    assert "row 3: counts_type" in said
    assert "row 4: counts_length: column 'votes' has 3 numbers, the first row that has any 2" in said


def test_counts_of_other_classes_than_the_labels_ask_for_the_order(tables: Tables) -> None:
    tables.files("1.png", "2.png")
    with pytest.raises(InputError, match="its lists have 3 numbers, there are 2 classes"):
        tables.table("file,label,votes", '1.png,a,"[1, 2, 0]"', '2.png,b,"[1, 2, 0]"', human_counts="votes")


def test_two_annotators_of_one_name_are_an_error(tables: Tables) -> None:
    with pytest.raises(InputError, match="name each column once"):
        tables.parquet({"a": ["x"], "annotator_a": ["x"]}, 1, annotators=("a", "annotator_a"))


def test_L1_a_missing_label_is_unlabelled_or_quarantined_by_policy(tables: Tables) -> None:
    tables.files("a.png", "b.png", "c.png")
    rows = ("a.png,cat", "b.png,", "c.png,  ")
    assert tables.table("file,label", *rows)["n_unlabelled"] == 2
    tables.table("file,label", *rows, missing_label="quarantine", max_quarantine_fraction=1.0)
    assert [(row["file"], row["reason"], row["row"]) for row in tables.quarantine()] == [
        ("images/b.png", "label_missing", "3"),
        ("images/c.png", "label_missing", "4"),
    ]


def test_L2_an_unknown_class_stops_the_run_with_the_nearest_name(tables: Tables) -> None:
    tables.files("a.png", "b.png", "c.png")
    rows = ("a.png,cat", "b.png,dgo", "c.png,?")
    said = tables.refused("file,label", *rows, classes=("cat", "dog"), neutral_labels=("?",))
    assert "1 labels are not in ingest.classes" in said
    assert "'dgo' (1 times); did you mean 'dog'?" in said


@pytest.mark.parametrize("variant", ["Cat", "cat ", "ｃａｔ", "c\u200bat", " CAT"])
def test_L3_variants_of_a_label_are_told_and_never_merged(tables: Tables, variant: str) -> None:
    tables.files("a.png", "b.png", "c.png")
    metrics = tables.table("file,label", "a.png,cat", "b.png,cat", f"c.png,{variant}")
    assert metrics["label_variants"] == {"cat": [variant]}
    assert tables.column("label") == ["cat", "cat", variant]


def test_L3_composed_and_decomposed_names_are_told(tables: Tables) -> None:
    tables.files("a.png", "b.png")
    metrics = tables.table("file,label", "a.png,caf\u00e9", "b.png,cafe\u0301")
    assert metrics["n_label_variants"] == 1
    assert metrics["n_classes"] == 2


def test_L4_L5_labels_that_look_like_nothing_or_numbers_are_kept_as_text(tables: Tables) -> None:
    labels = ["NA", "null", "None", "nan", "001", "1", "1.0", "True", "1e5"]
    tables.files(*[f"{n}.png" for n in range(len(labels))])
    tables.table("file,label", *[f"{n}.png,{label}" for n, label in enumerate(labels)])
    assert tables.column("label") == labels


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([1.0, 2.0]),
        pa.array([float("nan"), float("inf")]),
        pa.array([["a"], ["b", "c"]]),
        pa.array([b"a", b"b"]),
        pa.array([{"a": 1}, {"a": 2}]),
    ],
)
def test_L8_labels_that_are_no_text_or_whole_number_are_an_error(tables: Tables, labels: pa.Array) -> None:
    with pytest.raises(
        InputError, match=r"label_type: ingest.label: column 'label' holds .*write it as text"
    ):
        tables.parquet({"label": labels}, 2, label="label")


@pytest.mark.parametrize("cell", ["cat;dog", "cat|dog", '"cat, dog"', "\"['cat', 'dog']\""])
def test_L8_two_labels_in_one_cell_are_an_error_with_the_row(tables: Tables, cell: str) -> None:
    tables.files("a.png", "b.png", "c.png")
    said = tables.refused("file,label", "a.png,cat", "b.png,dog", f"c.png,{cell}")
    assert "row 4: label_type: " in said
    assert "holds several labels" in said


def test_a_comma_in_the_name_of_one_class_is_no_second_label(tables: Tables) -> None:
    tables.files("a.png", "b.png")
    tables.table("file,label", "a.png,tank", 'b.png,"tank, army"')
    assert tables.column("label") == ["tank", "tank, army"]


def test_L11_repeated_ids_and_paths_are_listed_with_both_rows(tables: Tables) -> None:
    tables.files("a.png", "b.png")
    rows = ("1,a.png,x", "2,b.png,x", "1,./a.png,y", ",c.png,y")
    said = tables.refused("key,file,label", *rows, id="key")
    assert "3 fault(s)" in said
    assert "row 4: duplicate_id: '1' stands in row 2 too" in said
    assert "row 4: duplicate_path: 'images/a.png' stands in row 2 too" in said
    assert "row 5: id_missing" in said


def test_I20_L10_equal_files_with_two_labels_are_both_kept_for_duplicates_to_find(tables: Tables) -> None:
    tables.files("a.png")
    (tables.set / "images/b.png").write_bytes((tables.set / "images/a.png").read_bytes())
    tables.table("file,label", "a.png,cat", "b.png,dog")
    assert tables.column("label") == ["cat", "dog"]
    first, second = tables.column("sample_id")
    assert second == f"{first}-2"


def test_L9_L13_ten_thousand_classes_of_one_and_a_hundred_of_another_are_taken_in(tables: Tables) -> None:
    image = pa.array([picture(0)] * 10_100, pa.binary())
    labels = [f"class {number}" for number in range(10_000)] + ["large"] * 100
    write_parquet_table(tables.set / "t.parquet", {"image": image, "label": labels})
    metrics = tables.read("t.parquet", image="image", label="label", image_size=8)
    assert (metrics["n_accepted"], metrics["n_classes"]) == (10_100, 10_001)
    assert len(set(tables.column("sample_id"))) == 10_100


def test_I19_a_flipped_bit_that_still_decodes_changes_the_hash_in_the_manifest(tables: Tables) -> None:
    write_files(tables.set / "images", ["a.jpg"])
    path = tables.set / "images/a.jpg"
    tables.table("key,file,label", "1,a.jpg,x", id="key")
    before = tables.column("sha256")
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    tables.table("key,file,label", "1,a.jpg,x", id="key")
    assert tables.column("sample_id") == ["1"]
    assert tables.column("sha256") != before


def test_neutral_labels_are_kept_and_noted_and_dropped_ones_are_counted(
    tables: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.files("a.png", "b.png", "c.png", "d.png")
    metrics = tables.table(
        "file,label",
        "a.png,cat",
        "b.png,Not sure",
        "c.png,Other",
        "d.png,",
        neutral_labels=("Not sure", "not sure"),
        drop_labels=("Other",),
    )
    assert tables.column("label") == ["cat", "Not sure", None]
    assert neutral_labels(pq.read_table(tables.out / "manifest.parquet")) == {"Not sure", "not sure"}
    assert (metrics["n_neutral"], metrics["n_classes"], metrics["n_ignored"]) == (1, 1, 1)
    assert metrics["ignored_by_reason"] == {"dropped_label": 1}
    assert (
        "ingest.neutral_labels: no label is 'not sure'; did you mean 'Not sure'?" in capsys.readouterr().err
    )


def test_dropping_every_label_is_an_error(tables: Tables) -> None:
    tables.files("a.png")
    assert "nothing is left" in tables.refused("file,label", "a.png,x", drop_labels=("x",))


def test_labels_of_folders_obey_the_same_policies(tables: Tables) -> None:
    write_files(tables.set, ["cat/1.png", "dog/2.png", "unsure/3.png"])
    metrics = tables.run(neutral_labels=("unsure",), drop_labels=("dog",))
    assert tables.column("label") == ["cat", "unsure"]
    assert (metrics["n_neutral"], metrics["n_ignored"], metrics["classes_without_images"]) == (1, 1, [])
    with pytest.raises(InputError, match=r"'unsure' \(1 times\)"):
        tables.run(classes=("cat", "dog"))


# ---- rows, files and paths


N1_N2 = ["../../etc/passwd", "a/../../b", "%2e%2e/x", "..\\x", "/etc/passwd", "file:///x", "~/x", "\\\\s\\x"]


def test_N1_N2_paths_that_leave_the_folder_are_all_listed_and_nothing_is_read(tables: Tables) -> None:
    tables.files("ok.png")
    rows = [f"{path},x" for path in N1_N2]
    for image in ("file", TEMPLATE):
        said = tables.refused("file,label", "images/ok.png,x", *rows, image=image)
        assert f"{len(rows)} fault(s)" in said
        for number in range(3, 3 + len(rows)):
            assert f"row {number}: path_outside_root: " in said


def test_N1_a_template_that_leaves_the_folder_is_an_error(tables: Tables) -> None:
    tables.files("ok.png")
    for image in ("../{file}", "/abs/{file}", "images/{file", "{file}/../x"):
        assert "ingest.image" in tables.refused("file,label", "ok.png,x", image=image)


def test_N1_a_linked_folder_is_not_a_way_out(tables: Tables) -> None:
    tables.files("ok.png")
    outside = tables.root / "outside"
    write_files(outside, ["secret.png"])
    (tables.set / "images/link").symlink_to(outside)
    (tables.set / "images/one.png").symlink_to(outside / "secret.png")
    rows = ("ok.png,x", "link/secret.png,x", "one.png,x")
    tables.table("file,label", *rows, max_quarantine_fraction=1.0)
    assert tables.column("source") == ["images/ok.png"]
    assert tables.reasons() == {
        "images/link": "symlink",
        "images/link/secret.png": "symlink",
        "images/one.png": "symlink",
    }
    (tables.set / "way").symlink_to(outside)
    assert "is a link" in tables.refused("file,label", "secret.png,x", image="way/{file}")


def test_N3_rows_without_files_and_files_without_rows_are_quarantined(tables: Tables) -> None:
    tables.files("a.png", "extra.png", "sub/extra.png", ".hidden.png")
    rows = ("a.png,x", "lost.png,y", ",z", ".hidden.png,z")
    metrics = tables.table("file,label", *rows, max_quarantine_fraction=1.0)
    assert [(row["file"], row["reason"], row["row"]) for row in tables.quarantine()] == [
        ("images/.hidden.png", "file_ignored", "5"),
        ("images/extra.png", "file_without_row", ""),
        ("images/lost.png", "file_missing", "3"),
        ("images/sub/extra.png", "file_without_row", ""),
        ("t.csv:4", "image_missing", "4"),
    ]
    assert (metrics["n_seen"], metrics["n_accepted"], metrics["n_ignored"]) == (7, 1, 1)


def test_N3_or_both_are_listed_in_one_error_by_policy(tables: Tables) -> None:
    tables.files("a.png", "extra.png")
    said = tables.refused("file,label", "a.png,x", "lost.png,y", unmatched="error")
    assert "1 rows without a file and 1 files without a row" in said
    assert "row 3: 'images/lost.png' has no file" in said
    assert "'images/extra.png' has no row" in said
    tables.table("file,label", "a.png,x", "extra.png,y", unmatched="error")


def test_a_folder_of_images_that_is_not_there_is_an_error(tables: Tables) -> None:
    said = tables.refused("file,label", "a.png,x", image="pictures/{file}")
    assert "the folder 'pictures/' beside t.csv does not exist" in said


def test_tables_and_notes_beside_images_are_ignored_and_counted(tables: Tables) -> None:
    write_files(tables.set, ["a.png", "sub/b.png"])
    (tables.set / "notes.txt").write_text("x")
    (tables.set / "README.md").write_text("x")
    metrics = tables.table("file,label", "a.png,x", "sub/b.png,y", image="file")
    assert (metrics["n_accepted"], metrics["n_ignored"], metrics["n_quarantined"]) == (2, 3, 0)


def test_a_bad_file_or_cell_is_quarantined_with_its_row_and_hash(tables: Tables) -> None:
    tables.files("a.png", "b.png")
    (tables.set / "images/b.png").write_bytes(b"<html>")
    tables.table("file,label", "a.png,x", "b.png,x", max_quarantine_fraction=1.0)
    (row,) = tables.quarantine()
    assert (row["file"], row["reason"], row["row"]) == ("images/b.png", "not_an_image", "3")
    assert row["sha256"] == hashlib.sha256(b"<html>").hexdigest()
    image = pa.array([picture(0), None, b"", b"x"], pa.binary())
    write_parquet_table(tables.set / "t.parquet", {"image": image})
    tables.read("t.parquet", image="image", max_quarantine_fraction=1.0)
    assert [(row["file"], row["reason"]) for row in tables.quarantine()] == [
        ("t.parquet:2", "image_missing"),
        ("t.parquet:3", "empty"),
        ("t.parquet:4", "not_an_image"),
    ]


def test_too_many_bad_rows_stop_the_run(tables: Tables) -> None:
    tables.files("a.png")
    said = tables.refused("file,label", "a.png,x", "b.png,x", "c.png,x")
    assert "2 of 3 rows and files cannot be used (file_missing 2)" in said


def test_I23_paths_that_collide_on_other_systems_are_findings(tables: Tables) -> None:
    tables.files("A.png", "a.png")
    assert tables.table("file,label", "A.png,x", "a.png,x")["findings"] == {"name_collision": 2}


def test_I25_I26_what_cannot_be_read_is_quarantined_and_never_opened(tables: Tables) -> None:
    tables.files("a.png")
    os.mkfifo(tables.set / "images/pipe.png")
    tables.table("file,label", "a.png,x", "pipe.png,x", max_quarantine_fraction=1.0)
    assert tables.reasons() == {"images/pipe.png": "not_regular"}


@pytest.mark.parametrize("name", ["set.zip", "set.csv", "set.parquet", "set.xlsx"])
def test_I29_an_archive_is_refused_with_the_remedy(tables: Tables, name: str) -> None:
    with zipfile.ZipFile(tables.set / name, "w") as archive:
        archive.writestr("../../evil.png", picture(0))
    before = sorted(tables.root.rglob("*"))
    for source in ("table", "folder"):
        with pytest.raises(InputError, match=rf"{name}.*zip archive.*unpack"):
            tables.read(name, image="image", source=source)
    assert [path for path in sorted(tables.root.rglob("*")) if path != tables.out] == before


# ---- tables that are none


def test_N6_a_damaged_parquet_file_is_an_error(tables: Tables) -> None:
    path = write_parquet_table(tables.set / "t.parquet", {"label": ["x"] * 40}, 40)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"damaged Parquet|no Parquet"):
            tables.read("t.parquet", image="image", label="label")
    for _ in range(30):
        broken = bytearray(whole)
        for place in rng.integers(4, len(whole), 20):
            broken[place] ^= 255
        path.write_bytes(broken)
        try:
            tables.read("t.parquet", image="image", label="label", max_quarantine_fraction=1.0)
        except InputError as error:
            assert "t.parquet" in str(error) or "cannot be used" in str(error)  # noqa: PT017


def test_N8_a_parquet_table_without_the_columns_or_rows_says_so(tables: Tables) -> None:
    with pytest.raises(InputError, match=r"ingest\.label: no column 'lable'; did you mean 'label'"):
        tables.parquet({"label": ["x"]}, 1, label="lable")
    with pytest.raises(InputError, match=r"ingest\.image: no column 'picture'"):
        tables.parquet({"label": ["x"]}, 1, image="picture")
    with pytest.raises(InputError, match="no rows"):
        tables.parquet({"label": pa.array([], pa.string())}, 0, label="label")
    with pytest.raises(InputError, match=r"column 'label' holds list.*expected encoded image files"):
        tables.parquet({"label": [[1]]}, 1, image="label")


def test_an_unknown_split_and_a_nul_are_listed_with_their_rows(tables: Tables) -> None:
    columns = {"split": ["train", "trian", "TEST "], "label": ["a", "b\0", "c"]}
    with pytest.raises(InputError) as caught:
        tables.parquet(columns, 3, split="split", label="label")
    assert "row 2: nul_character: column 'label'" in str(caught.value)
    assert "row 2: split_unknown: 'trian'; known are train, training" in str(caught.value)


def test_P5_a_table_without_an_image_column_names_both_keys(tables: Tables) -> None:
    with pytest.raises(InputError, match=r"ingest\.image: source: table needs"):
        tables.parquet({"label": ["x"]}, 1, image="")


def test_a_folder_where_a_table_is_due_is_an_error(tables: Tables) -> None:
    with pytest.raises(InputError, match="is a folder; source: table needs"):
        tables.read(".", image="image")


HOSTILE = ["=1+1", "@x", "<script>alert(1)</script>", "a,b", 'q"q', "../x", "a/b", "l1\nl2", "\u202egnp"]


def test_N9_N10_N11_hostile_labels_groups_and_ids_stay_text(tables: Tables) -> None:
    names = [f"{number}.png" for number in range(len(HOSTILE))]
    tables.files(*names)
    rows = [[f"id {text}", name, text, text] for name, text in zip(names, HOSTILE, strict=True)]
    write_csv_table(tables.set / "t.csv", ["key", "file", "label", "group"], rows)
    tables.read("t.csv", image=TEMPLATE, label="label", id="key", group="group")
    assert tables.column("label") == HOSTILE
    assert tables.column("group") == HOSTILE
    assert tables.column("sample_id") == [f"id {text}" for text in HOSTILE]


# ---- nothing is lost


ROW = st.tuples(st.sampled_from(["a", "b", "bad", "lost", ""]), st.sampled_from(["x", "y", "drop", ""]))


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ROW, min_size=1, max_size=8), st.booleans())
def test_every_row_and_file_ends_in_one_place(
    tables: Tables, rows: list[tuple[str, str]], quarantine: bool
) -> None:
    lines = []
    for number, (kind, label) in enumerate(rows):
        name = f"{number}{kind}.png" if kind else ""
        lines.append(f"{name},{label}")
        path = tables.set / "images" / name
        path.parent.mkdir(exist_ok=True)
        if kind in ("a", "b", "bad"):
            path.write_bytes(b"no" if kind == "bad" else picture(number))
    (tables.set / "images" / "extra.png").write_bytes(picture(99))
    missing = "quarantine" if quarantine else "unlabelled"
    policy = {"drop_labels": ("drop",), "missing_label": missing, "max_quarantine_fraction": 1.0}
    try:
        metrics = tables.table("file,label", *lines, **policy)
    except InputError as error:
        assert "cannot be used" in str(error)  # noqa: PT017  (only refused ones, nothing accepted)
    else:
        assert metrics["n_seen"] == len(rows) + 1
        assert metrics["n_ignored"] == sum(label == "drop" for _, label in rows)
        expected = sum(
            kind in "ab" and kind != "" and label not in ("drop", *([""] * quarantine))
            for kind, label in rows
        )
        assert metrics["n_accepted"] == expected
    for path in (tables.set / "images").iterdir():
        path.unlink()
