import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import train
from stages.commands.check import param_faults
from stages.lib.artifacts import read_csv
from stages.lib.class_plan import ClassPlan
from stages.lib.config import read_params
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError
from stages.lib.followed import MOST
from stages.lib.starting_weights import start_body
from stages.lib.tasks import as_images, classification_figures, forward
from stages.lib.tune_params import tune_faults
from stages.lib.weights import load_classifier
from tests.prepared_data import CLASSES, bars_dataset, write_prepared
from tests.training_fixture import context, even_plan, train_params, write_encoder

ROOT = Path(__file__).parent.parent


def run(folder: Path, dataset: Dataset, seed: int = 0, **changes: object) -> dict[str, float]:
    folders = write_prepared(folder, dataset)
    write_encoder(folder / "pretrain" / "encoder.safetensors", dataset)
    (folder / "out").mkdir()
    return train.run(
        train_params(**changes),
        ingest=folders.ingest,
        curate=folders.curate,
        split=folders.split,
        class_balance=folders.class_balance,
        pretrain=folder / "pretrain",
        seed=seed,
        out=folder / "out",
        context=context(folder),
    )


def test_a_network_learns_bars_and_says_what_it_is(tmp_path: Path) -> None:
    dataset = bars_dataset(150)
    metrics = run(tmp_path, dataset, epochs=8)
    assert metrics["val_top1_accuracy"] >= 0.9
    assert metrics["n_train"] == len(dataset.part("train"))
    assert "best_epoch" not in metrics  # nothing was chosen
    _, card, _ = load_classifier(tmp_path / "out" / "model.safetensors", CLASSES)
    assert set(card.parents) == {"encoder"}
    history = read_csv(tmp_path / "out" / "history.csv")
    assert [row["phase"] for row in history] == ["head"] + ["all"] * 8
    assert not (tmp_path / "checkpoints" / "k").exists()
    followed = read_csv(tmp_path / "out" / "followed.csv")
    assert len(followed) == 9 * MOST
    assert {row["sample_id"] for row in followed} <= {dataset.sample_ids[at] for at in dataset.part("val")}
    believed = [float(row["prob_of_label"]) for row in followed]
    assert np.mean(believed[-MOST:]) > np.mean(believed[:MOST])
    maps = read_csv(tmp_path / "out" / "activations.csv")
    assert metrics["activation_size"] == max(float(row["size"]) for row in maps)
    assert metrics["dead_channels"] == max(float(row["dead"]) for row in maps)


def test_with_patience_the_figures_are_those_of_the_weights_that_are_kept(tmp_path: Path) -> None:
    dataset = bars_dataset(90)
    metrics = run(tmp_path, dataset, epochs=20, patience=2, ema_decay=0.0, learning_rate=0.1)
    assert 1 < metrics["best_epoch"] < metrics["epochs"]
    network, card, _ = load_classifier(tmp_path / "out" / "model.safetensors", CLASSES)
    val = dataset.part("val")
    logits = forward(network, as_images(dataset.pixels[val], torch.device("cpu")), card.normalisation)
    found = classification_figures(logits, torch.from_numpy(dataset.labels[val]))
    assert found == pytest.approx({name: metrics[name] for name in found})
    row = read_csv(tmp_path / "out" / "history.csv")[int(metrics["best_epoch"]) - 1]
    assert float(row["val_loss"]) == metrics["val_loss"]
    assert float(row["train_loss"]) == metrics["train_loss"]


def test_two_runs_write_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    dataset = bars_dataset(60)
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run(tmp_path / name, dataset, seed)
    for file in ("model.safetensors", "history.csv", "followed.csv", "activations.csv", "filters.png"):
        one, two, three = ((tmp_path / name / "out" / file).read_bytes() for name in ("one", "two", "three"))
        assert one == two != three


def test_the_whitened_network_learns_and_its_first_layer_is_computed_from_train_alone(tmp_path: Path) -> None:
    dataset = bars_dataset(150)
    pixels = dataset.pixels.copy()
    pixels[dataset.part("test", "val")] = 0
    how = {"network": "whitened", "init": "random", "body_rate": 1.0, "epochs": 8}
    metrics = run(tmp_path / "one", dataset, **how)
    run(tmp_path / "two", replace(dataset, pixels=pixels), **how)
    assert metrics["val_top1_accuracy"] >= 0.9
    one, two = (
        load_classifier(tmp_path / name / "out" / "model.safetensors", CLASSES)[0].state_dict()
        for name in ("one", "two")
    )
    unfitted = torch.eye(4).reshape(4, 1, 2, 2)
    kernels = one["body.whitening.weight"]
    assert not torch.equal(kernels[:4], unfitted)
    assert torch.equal(kernels, two["body.whitening.weight"])


def test_nothing_depends_on_test(tmp_path: Path) -> None:
    dataset = bars_dataset(60)
    pixels, labels = dataset.pixels.copy(), dataset.labels.copy()
    pixels[dataset.part("test")] = 0
    labels[dataset.part("test")] = 0
    for name, changed in (("one", dataset), ("two", replace(dataset, pixels=pixels, labels=labels))):
        run(tmp_path / name, changed)
    one, two = (tmp_path / name / "out/model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def fitted(dataset: Dataset, plan: ClassPlan, folder: Path, **changes: object) -> torch.nn.Module:
    encoder = write_encoder(folder / "encoder.safetensors", dataset)
    return train.fit_classifier(dataset, plan, encoder, train_params(**changes), seed=0)[0].network


def test_the_class_plan_changes_what_is_drawn_and_what_it_weighs(tmp_path: Path) -> None:
    dataset = bars_dataset(60)
    even = fitted(dataset, even_plan(3), tmp_path)
    drawn = fitted(dataset, ClassPlan(np.array([5.0, 1, 1]), np.ones(3)), tmp_path)
    weighed = fitted(dataset, ClassPlan(np.ones(3), np.array([5.0, 1, 1])), tmp_path)
    heads = [net.get_parameter("head.bias") for net in (even, drawn, weighed)]
    for other in heads[1:]:
        favoured = (other[0] - other[1:].mean()) - (heads[0][0] - heads[0][1:].mean())
        assert float(favoured.detach()) > 1.0  # log 5 is 1.6


def test_from_scratch_there_is_no_head_phase_and_the_encoder_is_not_used(tmp_path: Path) -> None:
    params = train_params(init="random", body_rate=0.1)
    assert [(phase.name, phase.body_rate) for phase in train.recipe_of(params, 0).phases] == [("all", 1.0)]
    prior = torch.zeros(3)
    dataset = bars_dataset(30)
    encoder = write_encoder(tmp_path / "encoder.safetensors", dataset)
    body, card, _ = train_body(encoder, dataset)
    scratch = train.network_of(card.architecture, prior, seed=0)
    tuned = train.network_of(card.architecture, prior, seed=0)
    for network, init in ((scratch, "random"), (tuned, "pretrain")):
        start_body(network.body, card.architecture, init, encoder, "", "")  # type: ignore[arg-type]
    assert torch.equal(tuned.body.stem.weight, body["stem.weight"])
    assert not torch.equal(scratch.body.stem.weight, body["stem.weight"])


def train_body(encoder: Path, dataset: Dataset):  # type: ignore[no-untyped-def]
    from stages.lib.training_data import architecture_for
    from stages.lib.weights import load_encoder

    return load_encoder(encoder, architecture_for(dataset, train_params().widths))


def test_p5_other_widths_than_the_encoders_are_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"architecture is .*\[8, 16\].*expected .*\[8, 24\]"):
        run(tmp_path, bars_dataset(30), widths=(8, 24))


@pytest.mark.parametrize(
    ("network", "init"), [("whitened", "pretrain"), ("timm:test_resnet", "pretrain"), ("whitened", "timm")]
)
def test_a_network_and_an_init_that_do_not_go_together_are_refused_by_the_params(
    network: str, init: str
) -> None:
    raw = read_params()
    changed = {**raw["train"], "network": network, "init": init}
    (fault,) = param_faults({**raw, "train": changed})
    assert f"init: {init} needs" in fault
    assert network in fault
    if init == "pretrain":
        space = {"train.network": {"choices": ["residual", network]}}
        (fault,) = tune_faults({**raw, "tune": {**raw["tune"], "space": space}}, train.Params)
        assert fault.startswith(f'  tune.space.train.network: "{network}" is refused')
        given = {"ingredients": [{"name": "it", "set": {"train.network": network}}], "adding": "each"}
        (fault,) = param_faults({**raw, "ablate": given})
        assert fault.startswith("  ablate.ingredients, it: ")


def test_no_recipe_asks_for_a_pretrained_body_where_none_is_trained() -> None:
    raw = read_params()
    space = {"train.init": {"choices": ["random", "pretrain"]}}
    given = {"ingredients": [{"name": "it", "set": {"train.init": "pretrain"}}], "adding": "each"}
    assert tune_faults({**raw, "tune": {**raw["tune"], "space": space}}, train.Params) == []
    scratch = {**raw, "train": {**raw["train"], "init": "random"}}
    (fault,) = tune_faults({**scratch, "tune": {**raw["tune"], "space": space}}, train.Params)
    assert "only where train.init is pretrain" in fault
    (fault,) = param_faults({**scratch, "ablate": given})
    assert "only where train.init is pretrain" in fault


def test_a_train_split_without_images_is_refused(tmp_path: Path) -> None:
    dataset = bars_dataset(30)
    empty = replace(dataset, split=np.where(dataset.split == "train", "val", dataset.split))
    write_encoder(tmp_path / "encoder.safetensors", dataset)
    with pytest.raises(InputError, match="the train split has no images"):
        train.fit_classifier(empty, even_plan(3), tmp_path / "encoder.safetensors", train_params(), seed=0)


def killed(folder: Path, *arguments: str) -> dict[str, str]:
    """Run tests/killed_training.py in a process of its own; give the lines `name value` it prints."""
    command = [sys.executable, "-m", "tests.killed_training", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_r1_f1_a_training_killed_at_random_moments_ends_in_the_same_bytes(tmp_path: Path) -> None:
    told = killed(tmp_path, "moments", "20", "0")
    assert int(told["kills"]) >= 20
    assert int(told["resumed"]) >= 10
    assert told["killed"] == told["whole"]


def test_f9_a_training_killed_in_val_at_a_rate_before_saving_or_publishing_ends_in_the_same_bytes(
    tmp_path: Path,
) -> None:
    told = killed(tmp_path, "points", "8", "0")
    assert int(told["kills"]) >= 8
    assert told["killed"] == told["whole"]


def test_f5_f6_a_training_killed_inside_every_kind_of_write_ends_in_the_same_bytes(tmp_path: Path) -> None:
    told = killed(tmp_path, "writes", "6", "0")
    assert int(told["kills"]) >= 6
    assert int(told["resumed"]) >= 3
    assert told["killed"] == told["whole"]


def test_f7_a_training_whose_newest_checkpoint_is_corrupt_ends_in_the_same_bytes(tmp_path: Path) -> None:
    told = killed(tmp_path, "corrupt", "1", "0")
    assert told["killed"] == told["whole"]
    assert int(told["resumed"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "distill", "hints"])
def test_f1_pretraining_and_distillation_end_in_the_same_bytes_too(tmp_path: Path, stage: str) -> None:
    told = killed(tmp_path, "moments", "20", "0", stage)
    assert int(told["kills"]) >= 20
    assert int(told["resumed"]) >= 10
    assert told["killed"] == told["whole"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_r1_sixty_kills_a_run(tmp_path: Path, seed: int) -> None:
    for kind in ("moments", "writes", "points"):
        told = killed(tmp_path / kind, kind, "20", str(seed))
        assert int(told["kills"]) >= 20
        assert told["killed"] == told["whole"]
