from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages import pretrain
from stages.lib.artifacts import read_csv, write_json
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError
from stages.lib.normalise import fit_normalisation
from stages.lib.training_data import architecture_for
from stages.lib.weights import load_encoder, load_normalisation
from stages.train import fit_classifier
from tests.prepared_data import Folders, bars_dataset, with_copies, write_prepared
from tests.training_fixture import WIDTHS, context, even_plan, pretrain_params, pretrain_view, train_params


def run(folder: Path, dataset: Dataset, passed: bool = True, init: str = "pretrain") -> dict[str, float]:
    return run_in(write_prepared(folder, dataset), folder, passed, init)


def run_in(folders: Folders, folder: Path, passed: bool = True, init: str = "pretrain") -> dict[str, float]:
    write_json(folder / "preflight" / "checks.json", {"passed": passed, "checks": []})
    (folder / "out").mkdir()
    return pretrain.run(
        pretrain_params(),
        ingest=folders.ingest,
        duplicates=folders.duplicates,
        curate=folders.curate,
        split=folders.split,
        preflight=folder / "preflight",
        out=folder / "out",
        train=pretrain_view(init),
        context=context(folder),
    )


def test_the_encoder_says_what_it_is_and_its_normalisation_is_that_of_train(tmp_path: Path) -> None:
    dataset = bars_dataset()
    metrics = run(tmp_path, dataset)
    _, card, _ = load_encoder(tmp_path / "out" / "encoder.safetensors", architecture_for(dataset, WIDTHS))
    assert card.normalisation == fit_normalisation(dataset.pixels[dataset.part("train")])
    assert card.normalisation != fit_normalisation(dataset.pixels)
    assert metrics["n_images"] == len(dataset.part("train", "val"))
    history = read_csv(tmp_path / "out" / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert float(history[-1]["val_loss"]) == metrics["val_loss"]
    assert not (tmp_path / "checkpoints" / "k").exists()


@pytest.mark.parametrize("init", ["random", "timm", "file"])
def test_where_nobody_starts_from_the_body_none_is_trained_and_train_gets_the_normalisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], init: str
) -> None:
    dataset = bars_dataset(60)
    monkeypatch.setattr(pretrain, "fit_autoencoder", lambda *_: pytest.fail("trained"))
    metrics = run(tmp_path, dataset, init=init)
    assert metrics == {"trained": False, "epochs": 0}
    assert f"no body is pretrained, because train.init is {init}" in capsys.readouterr().err
    assert read_csv(tmp_path / "out/history.csv") == []
    path = tmp_path / "out/encoder.safetensors"
    shape = architecture_for(dataset, WIDTHS)
    assert load_normalisation(path, shape) == fit_normalisation(dataset.pixels[dataset.part("train")])
    with pytest.raises(InputError, match=r"no body.*dvc repro pretrain"):
        load_encoder(path, shape)
    state, card, _ = fit_classifier(dataset, even_plan(3), path, train_params(init="random", epochs=1), 0)
    assert card.normalisation == load_normalisation(path, shape)
    assert state.epoch == 1


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    dataset = bars_dataset(60)
    for name in ("one", "two"):
        run(tmp_path / name, dataset)
    for file in ("encoder.safetensors", "history.csv"):
        assert (tmp_path / "one/out" / file).read_bytes() == (tmp_path / "two/out" / file).read_bytes()


def test_no_test_image_is_ever_seen(tmp_path: Path) -> None:
    dataset = bars_dataset(60)
    pixels = dataset.pixels.copy()
    pixels[dataset.part("test")] = 255 - pixels[dataset.part("test")]
    for name, changed in (("one", dataset), ("two", replace(dataset, pixels=pixels))):
        run(tmp_path / name, changed)
    one, two = (tmp_path / name / "out/encoder.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_images_without_a_label_are_learned_from(tmp_path: Path) -> None:
    dataset = bars_dataset(60, neutral=6, unlabelled=9)
    metrics = run(tmp_path, dataset)
    assert metrics["n_images"] == len(dataset.part("train", "val")) + 15


def test_learning_lowers_the_error_below_painting_the_mean() -> None:
    dataset = bars_dataset(120)
    params = pretrain_params(epochs=12)
    facts = fit_normalisation(dataset.pixels[dataset.part("train")])
    shape = architecture_for(dataset, WIDTHS)
    recipe = params.one_phase("reconstruct", pretrain_view().augmentation())
    state = pretrain.fit_autoencoder(dataset, facts, shape, params, recipe)
    last = state.history[-1]["val_loss"]
    assert isinstance(last, float)
    assert last < 0.6  # the mean costs 1
    assert np.isfinite(last)


def test_a_preflight_that_did_not_pass_stops_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="preflight did not pass"):
        run(tmp_path, bars_dataset(30), passed=False)


def test_images_without_a_label_that_resemble_a_test_image_are_not_looked_at(tmp_path: Path) -> None:
    dataset = bars_dataset(60, neutral=6)
    neutral, test = dataset.part("neutral"), dataset.part("test")
    copies = {dataset.sample_ids[a]: dataset.sample_ids[b] for a, b in zip(neutral[:2], test, strict=False)}
    pixels = dataset.pixels.copy()
    pixels[np.r_[neutral[:2], test]] = 255
    for name, shown in (("one", dataset), ("two", replace(dataset, pixels=pixels))):
        folders = write_prepared(tmp_path / name, shown)
        with_copies(folders.duplicates, copies)
        metrics = run_in(folders, tmp_path / name)
        assert metrics["n_copies_left_out"] == 2
        assert metrics["n_images"] == len(dataset.part("train", "val")) + 4
    one, two = (tmp_path / name / "out/encoder.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
