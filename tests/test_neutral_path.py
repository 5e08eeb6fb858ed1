"""The way of a neutral sample through the chain and back: one link a test, from curation to a decision."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages import class_balance, curate, split
from stages.lib.annotators import PREFIX
from stages.lib.artifacts import read_csv, read_json, read_table, write_csv, write_json, write_table
from stages.lib.dataset import load_dataset
from stages.lib.decisions import COLUMNS
from stages.lib.image_store import encode_png, write_images
from stages.lib.label_roles import with_neutral_labels
from stages.lib.review_queue import Waiting, write_queue
from stages.lib.truth import load_truth
from tests.prepared_data import bars_dataset
from tests.test_curate import DEFAULT
from tests.test_split import params as split_params

N = 90
NAMES = ("cat", "dog", "owl")
PAIR_COLUMNS = ("sample_id_a", "sample_id_b", "score", "kind", "label_a", "label_b")
UNSURE, CONFLICT, DIVIDED = 3, (10, 11), 20
"""Positions: a label that says so, two exact copies with two labels, annotators who disagree."""

NEUTRAL = (UNSURE, *CONFLICT, DIVIDED)
POLICY = curate.Params(**DEFAULT | {"conflicts": "neutral", "annotators_disagree": "neutral"})
SPLIT = split_params(salt=5, test_fraction=0.2, val_fraction=0.2)
VIEW = curate.SplitView(salt=5, test_fraction=0.2, val_fraction=0.2)


def write_findings(root: Path) -> None:
    """Write what ingest, duplicates and label_noise would have found, all neutral ones outside test."""
    ids = [f"s{k:02d}" for k in range(N)]
    labels: list[str | None] = [NAMES[k % 3] for k in range(N)]
    labels[UNSURE] = "Not sure"
    hint = ["train" if k in NEUTRAL else None for k in range(N)]
    text = {
        "sample_id": ids,
        "label": labels,
        "source": [f"{k}.png" for k in ids],
        "group": [None] * N,
        "split_hint": hint,
        f"{PREFIX}a": labels,
    }
    manifest = pa.table({name: pa.array(values, pa.string()) for name, values in text.items()})
    write_table(root / "ingest/manifest.parquet", with_neutral_labels(manifest, ["Not sure"]))
    pixels = np.random.default_rng(0).integers(0, 255, (N, 8, 8, 1)).astype(np.uint8)
    images = [(name, encode_png(picture)) for name, picture in zip(ids, pixels, strict=True)]
    write_images(root / "ingest/images.parquet", images, 8, 1, "made")
    a, b = CONFLICT
    copies = [(ids[a], ids[b], 1.0, "exact", labels[a], labels[b])]
    write_csv(root / "duplicates/pairs.csv", PAIR_COLUMNS, copies)
    write_csv(root / "duplicates/conflicts.csv", PAIR_COLUMNS, copies)
    group = {"sample_id": [ids[a], ids[b]], "group_id": [ids[a]] * 2, "distance": [0.0, 0.0]}
    write_table(root / "duplicates/groups.parquet", pa.table(group))
    scores = {"sample_id": ids, "suggested_label": labels}
    scores |= {"label_quality": [1.0] * N, "is_label_issue": [False] * N}
    write_table(root / "label_noise/scores.parquet", pa.table(scores))
    voted = {"sample_id": [ids[DIVIDED]], "consensus_label": ["owl"], "n_votes": [3]}
    shares = {"consensus_quality": [0.4], "agreement": [1 / 3]}
    write_table(root / "label_noise/consensus.parquet", pa.table(voted | shares))
    write_json(root / "validate/verdict.json", {"passed": True})


def chain(root: Path) -> None:
    """Run curate, class_balance and split on the findings and the decisions that lie there."""
    folders = {name: root / name for name in ("ingest", "duplicates", "label_noise", "review")}
    curate.run(POLICY, **folders, split=VIEW, out=root / "curate")  # type: ignore[arg-type]
    plan = class_balance.Params(strategy="none", effective_number_beta=0.9, augment_max_strength=2.0)
    class_balance.run(plan, curate=root / "curate", out=root / "class_balance")
    folders = {name: root / name for name in ("curate", "duplicates", "validate")}
    split.run(SPLIT, **folders, out=root / "split")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("neutral")
    write_findings(root)
    chain(root)
    return root


def test_curation_makes_them_neutral_each_for_its_reason(done: Path) -> None:
    rows = read_table(done / "curate/samples.parquet").to_pylist()
    neutral = {k: row["reason"] for k, row in enumerate(rows) if row["status"] == "neutral"}
    reasons = ("neutral_labels", "conflicts", "conflicts", "annotators_disagree")
    assert neutral == dict(zip(NEUTRAL, reasons, strict=True))
    assert {rows[k]["label"] for k in NEUTRAL} == {None}


def test_they_are_counted_in_no_class_and_lie_in_no_part(done: Path) -> None:
    plan = read_json(done / "class_balance/plan.json")["classes"]
    assert set(plan) == set(NAMES)
    assert sum(entry["n"] for entry in plan.values()) == N - len(NEUTRAL)
    place = {row["sample_id"]: row["split"] for row in read_csv(done / "split/splits.csv")}
    assert [name for name, part in place.items() if part == "neutral"] == [f"s{k:02d}" for k in NEUTRAL]
    assert read_json(done / "split/classes.json") == list(NAMES)


def test_they_have_no_label_in_training_and_are_at_hand_for_pretraining(done: Path) -> None:
    dataset = load_dataset(done / "ingest", done / "curate", done / "split")
    assert (dataset.labels[list(NEUTRAL)] == -1).all()
    assert not set(dataset.part("train", "val", "test")) & set(NEUTRAL)
    assert dataset.part("neutral").tolist() == sorted(NEUTRAL)


def test_they_are_not_among_what_accuracy_is_measured_on(done: Path) -> None:
    truth = load_truth(done / "curate", done / "split", done / "duplicates")
    assert not {f"s{k:02d}" for k in NEUTRAL} & set(truth.sample_ids)
    assert (truth.labels >= 0).all()


def test_a_filled_in_queue_brings_them_back_with_the_persons_label(done: Path, tmp_path: Path) -> None:
    write_findings(tmp_path)
    chain(tmp_path)
    ids = [f"s{k:02d}" for k in NEUTRAL]
    n = len(ids)
    beliefs = np.full((1, n, 3), 1 / 3, np.float32)
    waiting = Waiting(ids, ["?"] * n, ["conflicts"] * n, ["x"] * n, np.arange(n), beliefs)
    write_queue(tmp_path / "queue.csv", waiting, NAMES)
    rows = read_csv(tmp_path / "queue.csv")
    for row in rows[:2]:
        row |= {"decision": "relabel", "label": "owl", "who": "Ada"}
    rows[2] |= {"decision": "drop", "who": "Ada"}
    header = list(rows[0])
    write_csv(tmp_path / "review/decisions.csv", header, [[row[name] for name in header] for row in rows])
    assert tuple(header[: len(COLUMNS)]) == COLUMNS
    chain(tmp_path)
    dataset = load_dataset(tmp_path / "ingest", tmp_path / "curate", tmp_path / "split")
    owl = dataset.classes.index("owl")
    assert dataset.split[list(NEUTRAL)].tolist() == ["train", "train", "", "neutral"]
    assert dataset.labels[list(NEUTRAL)].tolist() == [owl, owl, -1, -1]
    human = [row for row in read_csv(tmp_path / "curate/ledger.csv") if row["rule"] == "human"]
    assert [(row["from_status"], row["to_status"]) for row in human] == [
        ("neutral", "relabel"),
        ("neutral", "relabel"),
        ("neutral", "drop"),
    ]


def test_supervised_training_does_not_look_at_them(tmp_path: Path) -> None:
    """Other pictures in their place leave every weight as it was."""
    from stages import train
    from tests.training_fixture import even_plan, train_params, write_encoder

    dataset = bars_dataset(60, neutral=6)
    encoder = write_encoder(tmp_path / "encoder.safetensors", dataset)
    pixels = dataset.pixels.copy()
    pixels[dataset.part("neutral")] = 255 - pixels[dataset.part("neutral")]
    weights = [
        train.fit_classifier(changed, even_plan(3), encoder, train_params(epochs=1), 0)[
            0
        ].network.state_dict()
        for changed in (dataset, replace(dataset, pixels=pixels))
    ]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_the_baselines_do_not_learn_from_them() -> None:
    from stages.lib.linear_reference import LinearParams, fit_linear

    dataset = bars_dataset(60, neutral=6)
    neutral = dataset.part("neutral")
    params = LinearParams(linear_c=(0.1, 1.0), linear_max_iter=200)
    found = []
    for shown in (dataset.pixels[neutral], 255 - dataset.pixels[neutral]):
        features = dataset.pixels.reshape(60, -1).copy()
        features[neutral] = shown.reshape(len(neutral), -1)
        fit = fit_linear(features, dataset, dataset.part("val", "test"), params, "pixels")
        found.append(fit.pred_probs)
    np.testing.assert_array_equal(*found)
