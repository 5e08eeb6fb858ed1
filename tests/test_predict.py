from pathlib import Path

import numpy as np
import pytest
import torch

from stages import predict
from stages.lib.artifacts import read_csv
from stages.lib.dataset import Dataset
from stages.lib.ensemble import load_members
from stages.lib.predictions import read_predictions
from stages.lib.review_queue import QUEUE_COLUMNS
from stages.lib.tasks import as_images
from stages.lib.views import PLAIN
from tests.prepared_data import bars_dataset, write_prepared
from tests.training_fixture import predict_params, write_members

NAMES = {"seed0", "seed1", "ensemble", "student"}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return bars_dataset(120, neutral=8, unlabelled=4)


@pytest.fixture(scope="module")
def members(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_members(tmp_path_factory.mktemp("members"), dataset)


def run(folder: Path, dataset: Dataset, members: Path) -> dict[str, object]:
    folders = write_prepared(folder, dataset)
    return predict.run(
        predict_params(),
        ingest=folders.ingest,
        curate=folders.curate,
        split=folders.split,
        members=members,
        distill=members / "seed1",
        out=folder / "out",
        train=predict.TrainView(seeds=(0, 1)),
    )


def test_every_name_is_predicted_for_all_of_val_and_test(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    metrics = run(tmp_path, dataset, members)
    files = {path.stem for path in (tmp_path / "out/predictions").iterdir()}
    assert files - {"combined"} == NAMES | {f"{name}_tta" for name in NAMES}
    wanted = dataset.part("val", "test")
    for name in files:
        found = read_predictions(tmp_path / "out/predictions" / f"{name}.parquet")
        assert found.sample_ids == tuple(dataset.sample_ids[at] for at in wanted)
        assert found.split == tuple(dataset.split[wanted])
    assert set(metrics["val"]) == files  # type: ignore[call-overload]


def test_the_ensemble_is_the_mean_of_its_members_probabilities(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    run(tmp_path, dataset, members)
    probs = {
        name: read_predictions(tmp_path / "out/predictions" / f"{name}.parquet").pred_probs
        for name in ("seed0", "seed1", "ensemble", "seed0_tta", "seed1_tta", "ensemble_tta")
    }
    for view in ("", "_tta"):
        mean = (probs[f"seed0{view}"] + probs[f"seed1{view}"]) / 2
        np.testing.assert_allclose(probs[f"ensemble{view}"], mean, atol=1e-6)
    assert not np.array_equal(probs["seed0"], probs["seed0_tta"])


def test_two_runs_write_the_same_bytes(tmp_path: Path, dataset: Dataset, members: Path) -> None:
    for name in ("one", "two"):
        run(tmp_path / name, dataset, members)
    files = [
        path.relative_to(tmp_path / "one") for path in (tmp_path / "one/out").rglob("*") if path.is_file()
    ]
    assert len(files) - ("out/predictions/combined.parquet" in map(str, files)) == 10
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_neutral_samples_are_prelabelled_by_the_ensemble_and_queued_most_disputed_first(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    assert run(tmp_path, dataset, members)["n_review_queue"] == 8
    queue = read_csv(tmp_path / "out/review_queue.csv")
    neutral = dataset.part("neutral")
    assert {row["sample_id"] for row in queue} == {dataset.sample_ids[at] for at in neutral}
    dispute = [round(float(row["disagreement"]), 6) for row in queue]
    assert dispute == sorted(dispute, reverse=True)
    images = as_images(dataset.pixels[neutral], torch.device("cpu"))
    parts = [member.probs(images, PLAIN) for member in load_members(members, (0, 1), dataset).values()]
    believed = torch.stack(parts).mean(0)
    for row in queue:
        at = [dataset.sample_ids[place] for place in neutral].index(row["sample_id"])
        assert row["suggested_label"] == dataset.classes[int(believed[at].argmax())]
        assert float(row["confidence"]) == pytest.approx(float(believed[at].max()), abs=1e-6)
        assert (row["given_label"], row["reason"]) == (dataset.classes[0], "conflicts")
        assert row["source"] == f"pictures/{row['sample_id']}.png"
        assert {row[name] for name in ("decision", "label", "who", "when", "note")} == {""}


def test_without_neutral_samples_the_queue_is_its_header(tmp_path: Path, members: Path) -> None:
    run(tmp_path, bars_dataset(60), members)
    assert (tmp_path / "out/review_queue.csv").read_text() == ",".join(QUEUE_COLUMNS) + "\n"


def test_figures_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import accuracy_score, log_loss

    rng = np.random.default_rng(0)
    probs, labels = rng.dirichlet(np.ones(4), 50).astype(np.float32), rng.integers(0, 4, 50)
    found = predict.figures(probs, labels)
    assert found["top1_accuracy"] == accuracy_score(labels, probs.argmax(1))
    normal = probs / probs.sum(1, keepdims=True)
    assert found["log_loss"] == pytest.approx(log_loss(labels, normal, labels=range(4)), rel=1e-5)


def test_val_chooses_the_views_and_the_combination_and_says_among_what(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    chosen = run(tmp_path, dataset, members)["chosen"]
    assert set(chosen["views"]["candidates"]) == {"none", "listed", "added"}  # type: ignore[index]
    kinds = chosen["combination"]["candidates"]  # type: ignore[index]
    assert set(kinds) == {"mean", "geometric", "weighted", "greedy", "soup", "greedy_soup"}
    n_val = len(dataset.part("val"))
    for record in kinds.values():
        assert (record["top1_accuracy"] * n_val) == pytest.approx(round(record["top1_accuracy"] * n_val))
    combined = tmp_path / "out/predictions/combined.parquet"
    as_ever = chosen["combination"]["name"] == "mean" and chosen["views"]["name"] != "added"  # type: ignore[index]
    assert combined.exists() != as_ever


def test_what_val_combined_is_predicted_for_all_of_val_and_test(
    dataset: Dataset, members: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.lib import chosen_ensemble, val_choice
    from stages.lib.views import View

    loaded = load_members(members, (0, 1), dataset)
    weights = np.array([0.25, 0.75])
    monkeypatch.setattr(
        chosen_ensemble, "choose_combination", lambda *_: val_choice.Choice("weighted", weights, {})
    )
    positions = dataset.part("val", "test")
    probs, _ = chosen_ensemble.choose(
        dataset, positions, loaded, [View(1, 0, False, 1.0, 1.0)], ("weighted",)
    )
    assert probs is not None
    assert probs.shape == (len(positions), len(dataset.classes))
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)


def test_the_ensembles_answers_to_worse_pictures_are_written_for_every_change(
    tmp_path: Path, dataset: Dataset, members: Path
) -> None:
    from stages.lib.artifacts import read_table

    found = run(tmp_path, dataset, members)
    rows = read_table(tmp_path / "out/robustness.parquet").to_pylist()
    n_test = len(dataset.part("test"))
    assert found["n_changes"] == 7
    assert len(rows) == 7 * n_test
    untouched = [row["predicted"] for row in rows if (row["kind"], row["strength"]) == ("resolution", 1.0)]
    predictions = read_predictions(tmp_path / "out/predictions/ensemble.parquet")
    plain = predictions.pred_probs[np.array(predictions.split) == "test"].argmax(1)
    assert untouched == plain.tolist()
