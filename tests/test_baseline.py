from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from made_run import MadeRun, make_run

from stages import baseline
from stages.lib import metrics
from stages.lib.artifacts import read_json, read_table, write_npy, write_table
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError
from stages.lib.linear_reference import LinearParams, fit_linear, standardised
from stages.lib.predictions import read_predictions

ALL = ("dummy_zeros", "dummy_noise", "dummy_histogram", "linear", "linear_embedding", "knn", "svc")
CHOICES: dict[str, Any] = {
    "references": ALL,
    "linear_c": (0.01, 1.0),
    "linear_max_iter": 500,
    "knn_k": (1, 5),
    "knn_metrics": ("euclidean", "cosine"),
    "knn_max_train": 1000,
    "svc_c": (1.0, 10.0),
    "svc_max_train": 1000,
    "seed": 0,
}
PARAMS = baseline.Params(**CHOICES)
FOLDERS = ("ingest", "embed", "curate", "split")
CLASSES = ("cat", "dog", "owl")


def separable(n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 6, 6, 1) whose brightest third mostly tells the class, and labels (n,)."""
    rng = np.random.default_rng(3)
    labels = rng.choice(3, size=n, p=[0.5, 0.3, 0.2])
    pixels = rng.integers(0, 120, size=(n, 6, 6, 1))
    for row, label in enumerate(labels):
        pixels[row, 2 * label : 2 * label + 2] += rng.integers(40, 110)
    return pixels.astype(np.uint8), labels.astype(np.int64)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> MadeRun:
    pixels, labels = separable()
    made = make_run(tmp_path_factory.mktemp("made"), CLASSES, pixels, labels)
    means = pixels.reshape(len(pixels), 3, 12).mean(axis=2)
    write_npy(made.root / "embed" / "embeddings.npy", means.astype(np.float32))
    return made


def run(made: MadeRun, out, **changes: object) -> dict:
    folders = {name: made.root / name for name in FOLDERS}
    return baseline.run(baseline.Params(**CHOICES | changes), **folders, review=made.root / "review", out=out)


@pytest.fixture(scope="module")
def results(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    found = run(made, out)
    return found, out


def accuracy(made: MadeRun, out, name: str, split: str = "test") -> float:
    predictions = read_predictions(out / "predictions" / f"{name}.parquet")
    label = dict(zip(made.sample_ids, made.labels, strict=True))
    rows = [row for row, found in enumerate(predictions.split) if found == split]
    labels = np.array([label[predictions.sample_ids[row]] for row in rows])
    return float((metrics.top1(predictions.pred_probs[rows]) == labels).mean())


def test_every_baseline_predicts_exactly_the_val_and_test_samples(made, results):
    _, out = results
    wanted = [sid for sid, split in zip(made.sample_ids, made.split, strict=True) if split != "train"]
    names = sorted(path.stem for path in (out / "predictions").iterdir())
    assert names == sorted(("dummy", "dummy_most_frequent", *ALL))
    for name in names:
        predictions = read_predictions(out / "predictions" / f"{name}.parquet")
        assert list(predictions.sample_ids) == wanted
        assert predictions.pred_probs.shape == (len(wanted), 3)


def test_the_dummy_knows_the_class_shares_of_train_and_nothing_else(made, results):
    _, out = results
    shares = np.bincount(made.labels[made.split == "train"]) / (made.split == "train").sum()
    probs = read_predictions(out / "predictions" / "dummy.parquet").pred_probs
    assert np.allclose(probs, shares, atol=1e-6)
    constant = read_predictions(out / "predictions" / "dummy_most_frequent.parquet").pred_probs
    assert (constant == np.eye(3)[shares.argmax()]).all()


def test_a_network_that_sees_only_zeros_learns_no_more_than_the_class_shares(made, results):
    _, out = results
    shares = np.bincount(made.labels[made.split == "train"]) / (made.split == "train").sum()
    probs = read_predictions(out / "predictions" / "dummy_zeros.parquet").pred_probs
    assert np.ptp(probs, axis=0).max() == 0
    assert np.abs(probs[0] - shares).max() < 0.1


@pytest.mark.parametrize("name", ["dummy_noise", "dummy_histogram"])
def test_a_network_without_the_picture_is_a_prediction_for_each_image(results, name):
    _, out = results
    probs = read_predictions(out / "predictions" / f"{name}.parquet").pred_probs
    assert np.ptp(probs, axis=0).max() > 0


def test_neighbours_and_support_vectors_see_the_planted_pattern(made, results):
    found, out = results
    for name in ("knn", "svc"):
        assert accuracy(made, out, name) > 0.8
        assert found[name]["val_top1_accuracy"] == pytest.approx(accuracy(made, out, name, "val"))
        assert (found[name]["n_train"], found[name]["capped"]) == (found["n_train"], False)


def test_only_the_listed_references_are_made(made, tmp_path):
    found = run(made, tmp_path, references=("knn",), knn_max_train=30)
    names = {path.stem for path in (tmp_path / "predictions").iterdir()}
    assert names == {"dummy", "dummy_most_frequent", "knn"}
    assert "svc" not in found
    assert found["knn"]["capped"] is True
    assert found["knn"]["n_train"] <= 30


def test_a_reference_that_cannot_be_made_says_why_and_stops_nothing(made, tmp_path, monkeypatch):
    from stages.lib import kernel_reference

    monkeypatch.setattr(kernel_reference, "MOST_CLASSES", 2)
    found = run(made, tmp_path, references=("svc", "linear_embedding"))
    assert found["svc"] == {
        "measured": False,
        "reason": "train has 3 classes: a machine for each pair is made of 2 to 2",
    }
    names = {path.stem for path in (tmp_path / "predictions").iterdir()}
    assert names == {"dummy", "dummy_most_frequent", "linear_embedding"}


def test_the_linear_models_see_the_planted_pattern(made, results):
    found, out = results
    assert accuracy(made, out, "linear") > 0.8
    assert accuracy(made, out, "linear_embedding") > 0.8
    assert found["linear"]["c"] in PARAMS.linear_c
    assert found["linear"]["val_top1_accuracy"] == pytest.approx(accuracy(made, out, "linear", "val"))
    assert found["n_train"] == (made.split == "train").sum()


def test_without_annotations_the_human_baseline_says_that_it_is_not_measured_and_why(results):
    found, out = results
    human = read_json(out / "human.json")
    assert human["measured"] is False
    assert "annotator_" in human["reason"]
    assert found["human_measured"] is False


def test_the_same_inputs_give_the_same_bytes(made, results, tmp_path):
    _, out = results
    assert run(made, tmp_path) == results[0]
    for path in (out / "predictions").iterdir():
        assert path.read_bytes() == (tmp_path / "predictions" / path.name).read_bytes(), path.name


def dataset(labels, split, features=None) -> Dataset:
    pixels = np.zeros((len(labels), 1, 1, 1), np.uint8) if features is None else features
    ids = tuple(f"s{row}" for row in range(len(labels)))
    return Dataset(ids, pixels, np.array(labels), np.array(split), CLASSES)


def test_nothing_is_chosen_by_test():
    pixels, labels = separable()
    split = np.random.default_rng(0).choice(["train", "val", "test"], size=len(labels))
    features = pixels.reshape(len(labels), -1)
    rows = np.flatnonzero(split == "val")
    honest = fit_linear(features, dataset(labels, split), rows, PARAMS, "pixels")
    shuffled = labels.copy()
    shuffled[split == "test"] = (labels[split == "test"] + 1) % 3
    altered = features.copy()
    altered[split == "test"] = 255
    again = fit_linear(altered, dataset(shuffled, split), rows, PARAMS, "pixels")
    assert again.told == honest.told
    assert (again.pred_probs == honest.pred_probs).all()


def test_the_regularisation_is_the_best_on_val_of_independent_fits():
    from sklearn.linear_model import LogisticRegression

    pixels, labels = separable()
    split = np.random.default_rng(0).choice(["train", "val"], size=len(labels))
    features = pixels.reshape(len(labels), -1).astype(float)
    train, val = split == "train", split == "val"
    scaled = (features - features[train].mean(0)) / features[train].std(0)
    scores = {
        c: LogisticRegression(C=c, max_iter=500)
        .fit(scaled[train], labels[train])
        .score(scaled[val], labels[val])
        for c in PARAMS.linear_c
    }
    found = fit_linear(features, dataset(labels, split), np.flatnonzero(val), PARAMS, "pixels")
    assert found.told["val_top1_accuracy"] == pytest.approx(max(scores.values()))
    assert scores[found.told["c"]] == max(scores.values())


def test_columns_that_never_vary_in_train_say_nothing():
    features = np.array([[7.0, 1.0], [7.0, 3.0], [200.0, 2.0]])
    assert standardised(features, np.array([0, 1])).tolist() == [[0, -1], [0, 1], [0, 0]]


def test_a_solver_that_does_not_arrive_stops_the_stage_and_names_the_param():
    pixels, labels = separable()
    split = np.where(np.arange(len(labels)) % 2, "train", "val")
    hasty = LinearParams(linear_c=(1.0,), linear_max_iter=1)
    features = pixels.reshape(len(labels), -1)
    with pytest.raises(InputError, match=r"baseline\.linear_max_iter: 1 iterations"):
        fit_linear(features, dataset(labels, split), np.arange(3), hasty, "pixels")


def test_a_class_that_train_lacks_gets_probability_zero():
    pixels, labels = separable()
    split = np.where(labels == 2, "val", np.where(np.arange(len(labels)) % 2, "train", "val"))
    found = fit_linear(
        pixels.reshape(len(labels), -1), dataset(labels, split), np.arange(5), PARAMS, "pixels"
    )
    assert found.pred_probs.shape == (5, 3)
    assert (found.pred_probs[:, 2] == 0).all()
    assert found.pred_probs.sum(1) == pytest.approx(np.ones(5))


def test_annotator_columns_give_a_prediction_of_vote_shares_and_agreement_on_test(made, tmp_path):
    table = read_table(made.root / "ingest" / "manifest.parquet")
    names = table["label"].to_pylist()
    votes = {
        "annotator_ann": names,
        "annotator_bob": [None if row % 2 else name for row, name in enumerate(names)],
        "annotator_cleo": ["cat" if row % 2 == 0 else None for row in range(len(names))],
    }
    for name, column in votes.items():
        table = table.append_column(name, pa.array(column, pa.string()))
    labels = np.array([CLASSES.index(name) for name in names])
    data = Dataset(made.sample_ids, np.zeros((len(names), 1, 1, 1), np.uint8), labels, made.split, CLASSES)
    write_table(tmp_path / "manifest.parquet", table)
    tmp_path.joinpath("annotations.csv").write_text("sample_id,annotator,label\ns00000,dora,owl\n")
    even = np.full(((made.split != "train").sum(), 3), 1 / 3)
    figures, predictions = baseline.human(tmp_path / "manifest.parquet", tmp_path, data, even)
    assert figures["measured"] is True
    assert set(figures["annotators"]) - {"dora"} == {"ann", "bob", "cleo"}
    assert figures["annotators"]["bob"]["agreement"] > figures["annotators"]["cleo"]["agreement"]
    assert predictions is not None
    assert len(predictions.sample_ids) == (made.split != "train").sum()
    dogs = [
        r
        for r, sid in enumerate(predictions.sample_ids)
        if names[int(sid[1:])] == "dog" and int(sid[1:]) % 2 == 0
    ]
    assert np.allclose(predictions.pred_probs[dogs], [1 / 3, 2 / 3, 0], atol=1e-6)
