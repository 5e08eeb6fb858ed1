from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages import preflight
from stages.lib import preflight_subject
from stages.lib.artifacts import read_csv, read_json
from stages.lib.batch_picture import COLUMNS, TILE
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError
from stages.lib.stand_in import RATE_STEPS
from stages.lib.training_data import architecture_for
from tests.prepared_data import bars_dataset, write_prepared
from tests.training_fixture import AUGMENTATION, ENGINE, NETWORK, RANDOM, STEPPING, WIDTHS, even_plan

PARAMS = preflight.Params(seed=0, batch_size=12, overfit_steps=60, short_run_steps=40, doublings=0)


def view(**changes: object) -> preflight.TrainView:
    return preflight.TrainView(**STEPPING | ENGINE | NETWORK | AUGMENTATION | RANDOM | changes)


def run(folder: Path, dataset: Dataset, train: preflight.TrainView | None = None) -> dict[str, Any]:
    folders = write_prepared(folder, dataset)
    (folder / "out").mkdir()
    return preflight.run(
        PARAMS,
        ingest=folders.ingest,
        curate=folders.curate,
        split=folders.split,
        class_balance=folders.class_balance,
        out=folder / "out",
        train=train or view(),
    )


def test_healthy_data_pass_every_check_and_leave_a_picture(tmp_path: Path) -> None:
    metrics = run(tmp_path, bars_dataset(90))
    written = read_json(tmp_path / "out/checks.json")
    assert written["passed"]
    assert all(check["passed"] and check["why"] for check in written["checks"])
    assert metrics["n_checks"] == metrics["n_passed"] == len(written["checks"]) == 34
    for name in ("batch.png", "augmented.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.size[0] == COLUMNS * TILE
    rates = read_csv(tmp_path / "out/rates.csv")
    assert 10 < len(rates) <= RATE_STEPS
    assert 1e-4 < metrics["suggested_learning_rate"] < 0.1


@pytest.mark.parametrize("change", [{"grow_batch": True}, {"kind": "plateau"}], ids=str)
def test_a_schedule_of_many_epochs_passes_too(tmp_path: Path, change: dict[str, Any]) -> None:
    metrics = run(tmp_path, bars_dataset(90), view(schedule=ENGINE["schedule"] | change))
    assert metrics["n_checks"] == metrics["n_passed"]
    assert 1e-4 < metrics["suggested_learning_rate"] < 0.1


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(tmp_path / name, bars_dataset(60))
    for file in ("checks.json", "batch.png", "augmented.png", "rates.csv"):
        assert (tmp_path / "one/out" / file).read_bytes() == (tmp_path / "two/out" / file).read_bytes()


def failed(folder: Path, dataset: Dataset, train: preflight.TrainView | None = None) -> str:
    """Return what is told; what was measured and seen lies where that says."""
    with pytest.raises(InputError) as caught:
        run(folder, dataset, train)
    out = folder / "out"
    assert {path.name for path in out.iterdir()} == {"checks.json", "batch.png", "augmented.png", "rates.csv"}
    written = read_json(out / "checks.json")
    assert not written["passed"]
    failures = [check["name"] for check in written["checks"] if not check["passed"]]
    assert f"{len(failures)} of {len(written['checks'])} checks failed" in str(caught.value)
    assert all(f"  {name} is " in str(caught.value) for name in failures)
    assert f"{out}/checks.json" in str(caught.value)
    return str(caught.value)


def test_labels_that_do_not_belong_to_their_images_stop_the_chain(tmp_path: Path) -> None:
    dataset = bars_dataset(150)
    shuffled = np.random.default_rng(0).permutation(dataset.labels)
    assert "sees_its_input" in failed(tmp_path, replace(dataset, labels=shuffled))


def test_a_learning_rate_that_cannot_learn_stops_the_chain(tmp_path: Path) -> None:
    message = failed(tmp_path, bars_dataset(90), view(learning_rate=1e-7))
    assert "loss_falls" in message
    assert "the range test suggests 0.0" in message
    assert "overfit_one_batch" in message


def test_flat_images_stop_the_chain(tmp_path: Path) -> None:
    dataset = bars_dataset(60)
    pixels = dataset.pixels.copy()
    pixels[::3] = 77
    assert "pixels_vary is 0.3333, must be <= 0.1" in failed(tmp_path, replace(dataset, pixels=pixels))


def test_a_class_that_train_lacks_stops_the_chain(tmp_path: Path) -> None:
    dataset = bars_dataset(90)
    split = np.where((dataset.labels == 2) & (dataset.split == "train"), "test", dataset.split)
    assert "labels_fit is 1, must be <= 0" in failed(tmp_path, replace(dataset, split=split))


def test_large_sets_are_sampled_and_test_is_never_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight_subject, "MOST_TRAIN", 20)
    monkeypatch.setattr(preflight_subject, "MOST_VAL", 5)
    dataset = bars_dataset(150)
    sample = preflight_subject.sample_of(dataset, seed=0)
    assert (len(sample.part("train")), len(sample.part("val")), len(sample.part("test"))) == (20, 5, 0)
    assert set(sample.part("train")) <= set(dataset.part("train"))


def subject_in(dataset: Dataset) -> preflight_subject.Subject:
    recipe = preflight.recipe_of(view(), seed=PARAMS.seed)
    architecture = architecture_for(dataset, WIDTHS)
    return preflight_subject.subject_of(dataset, even_plan(3), recipe, architecture, PARAMS.batch_size)


def test_where_val_is_small_a_third_of_train_at_most_is_lent_and_never_learned_from() -> None:
    dataset = bars_dataset(150)
    subject = subject_in(dataset)
    n_train, n_val = len(dataset.part("train")), len(dataset.part("val"))
    assert len(subject.held.labels) == n_val + n_train // 3
    assert len(subject.learned) == n_train - n_train // 3
    learned, lent = preflight_subject.lend(n_train, n_val, PARAMS.seed)
    assert sorted([*learned, *lent]) == list(range(n_train))
    held = dataset.pixels[dataset.part("train")[lent]]
    np.testing.assert_array_equal(subject.held.images[n_val:].permute(0, 2, 3, 1).numpy(), held)
    assert len(preflight_subject.lend(1000, preflight_subject.LEAST_HELD, 0)[1]) == 0


def test_without_val_the_check_looks_at_what_train_lends() -> None:
    dataset = bars_dataset(60)
    alone = replace(dataset, split=np.where(dataset.split == "train", "train", ""))
    subject = subject_in(alone)
    assert len(subject.held.labels) == len(dataset.part("train")) // 3
