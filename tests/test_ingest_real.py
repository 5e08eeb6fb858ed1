"""Ingest on real tables, where they are: human labels of CIFAR-10 and photographs as users bring them."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench.table_growth import measure
from stages.lib.label_roles import neutral_labels
from tests.ingest_project import Project
from tests.real_data import shared_data

ANNOTATORS = ("annotator_1", "annotator_2", "annotator_3")


@pytest.mark.slow
def test_photographs_with_a_csv_are_taken_in_whole(tmp_path: Path) -> None:
    project = Project(tmp_path)
    shutil.copytree(shared_data() / "clothing-sample", project.set, dirs_exist_ok=True)
    metrics = project.run(
        source="table",
        path=str(project.set / "images.csv"),
        image="images/{image}.jpg",
        id="image",
        label="label",
        group="sender_id",
        neutral_labels=("Not sure",),
    )
    assert (metrics["n_seen"], metrics["n_accepted"], metrics["n_neutral"]) == (497, 485, 9)
    assert metrics["quarantine_by_reason"] == {"file_without_row": 12}
    assert metrics["n_classes"] == 18
    assert neutral_labels(pq.read_table(project.out / "manifest.parquet")) == {"Not sure"}


@pytest.mark.slow
def test_annotators_of_cifar10_become_labels_and_columns_and_the_truth_is_not_read(tmp_path: Path) -> None:
    project = Project(tmp_path)
    table = pq.read_table(shared_data() / "cifar10" / "train.parquet").slice(0, 3000)
    for name, kept in (("t", table), ("blind", table.drop_columns(["clean_label"]))):
        pq.write_table(kept, project.set / f"{name}.parquet")
    outs = []
    for name in ("t", "blind"):
        path = project.set / "same.parquet"
        shutil.copy(project.set / f"{name}.parquet", path)
        wanted = {"image": "image", "id": "id", "annotators": ANNOTATORS, "image_size": 32}
        metrics = project.run(source="table", path=str(path), **wanted)
        outs.append([file.read_bytes() for file in sorted(project.out.iterdir())])
    assert outs[0] == outs[1]
    assert metrics["n_accepted"] == 3000
    assert metrics["n_unlabelled"] == metrics["findings"]["annotators_tie"]
    for name in ANNOTATORS:
        kept = pq.read_table(project.out / "manifest.parquet")[name].to_pylist()
        assert kept == table[name].cast("string").to_pylist()


@pytest.mark.slow
def test_memory_grows_with_the_manifest_alone() -> None:
    few, many = (measure(n, n_classes=100, rows_only=False) for n in (10_000, 60_000))
    a_row = 2**20 * (many["rss_mib"] - few["rss_mib"]) / 50_000
    assert a_row < 1000, f"{a_row:.0f} bytes a row"
    assert many["rss_mib"] < 400
