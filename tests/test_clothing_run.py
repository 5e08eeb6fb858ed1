"""A messy table of real photographs, from CSV to the report: the sample of clothes. Slow."""

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.lib.artifacts import read_csv, read_json, read_table
from tests.chain import Chain
from tests.real_data import shared_data

pytestmark = pytest.mark.slow

SETTINGS: dict[str, dict[str, Any]] = {
    "ingest": {
        "source": "table",
        "path": "data/raw/clothing/images.csv",
        "image": "images/{image}.jpg",
        "label": "label",
        "id": "image",
        "group": "sender_id",
        "neutral_labels": ["Not sure"],
        "image_size": 32,
    },
    "split": {"rare_classes": "train_only"},
    "baseline": {"linear_c": [0.1], "linear_max_iter": 5000},
    "pretrain": {"epochs": 2},
    "train": {
        "seeds": [0],
        "epochs": 4,
        "head_epochs": 1,
        "widths": [16, 32, 48, 64],
        "learning_rate": 1e-3,
    },
    "distill": {"epochs": 3, "widths": [16, 24]},
}
"""What the README says of photographs, with few epochs and small pictures."""


@pytest.fixture(scope="module")
def clothes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    source = shared_data() / "clothing-sample"
    chain = Chain.clone(tmp_path_factory.mktemp("clothes") / "clone")
    (chain.root / "dvc.lock").unlink(missing_ok=True)
    copied = chain.root / "data/raw/clothing"
    shutil.copytree(source, copied, copy_function=shutil.copyfile)
    for folder in [copied, *(path for path in copied.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    augment = yaml.safe_load((chain.root / "params.yaml").read_text(encoding="utf-8"))["train"]["augment"]
    photographs = {"augment": augment | {"flip": True, "padding": "reflection"}}
    chain.set_params(**SETTINGS | {"train": SETTINGS["train"] | photographs})
    chain.repro()
    return chain


def labels_and_senders(root: Path) -> dict[str, dict[str, str]]:
    return {row["image"]: row for row in read_csv(root / "data/raw/clothing/images.csv")}


def test_it_ends_in_a_report_and_every_preflight_check_passed(clothes: Chain) -> None:
    assert (clothes.root / "data/evaluate/report.html").stat().st_size > 50_000
    assert all(check["passed"] for check in read_json(clothes.root / "data/preflight/checks.json")["checks"])


def test_nothing_is_lost_and_files_without_a_row_are_named(clothes: Chain) -> None:
    told = read_json(clothes.root / "data/ingest/metrics.json")
    assert told["n_accepted"] + told["n_quarantined"] + told["n_ignored"] == told["n_seen"] == 497
    assert told["quarantine_by_reason"] == {"file_without_row": 12}


def test_what_nobody_was_sure_of_is_neutral(clothes: Chain) -> None:
    given = labels_and_senders(clothes.root)
    splits = {row["sample_id"]: row["split"] for row in read_csv(clothes.root / "data/split/splits.csv")}
    unsure = {name for name, row in given.items() if row["label"] == "Not sure"}
    assert {name for name, split in splits.items() if split == "neutral"} == unsure
    assert len(unsure) == 9
    assert len(read_csv(clothes.root / "data/predict/review_queue.csv")) == 9


def test_nobodys_photographs_straddle_the_split(clothes: Chain) -> None:
    given, places = labels_and_senders(clothes.root), defaultdict(set)
    for row in read_csv(clothes.root / "data/split/splits.csv"):
        if row["split"] in ("train", "val", "test"):
            places[given[row["sample_id"]]["sender_id"]].add(row["split"])
    assert len(places) > 50
    assert {sender: found for sender, found in places.items() if len(found) > 1} == {}


def test_rare_classes_are_learned_only_and_named_in_the_report(clothes: Chain) -> None:
    rare = read_csv(clothes.root / "data/split/rare.csv")
    n_rare = read_json(clothes.root / "data/split/metrics.json")["rare_classes"]
    assert {"Blouse", "Hoodie"} <= {row["class"] for row in rare}
    assert len(rare) == n_rare
    report = (clothes.root / "data/evaluate/report.html").read_text(encoding="utf-8")
    told = report[report.index("Classes too small to measure") :]
    kept = Counter(read_table(clothes.root / "data/curate/samples.parquet")["label"].to_pylist())
    for row in rare:
        assert (row["val"], row["test"]) == ("0", "0")
        assert int(row["train"]) + int(row["out"]) == kept[row["class"]]
        assert row["class"] in told
