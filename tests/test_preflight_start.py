"""Preflight judges the network that will be trained: from its own weights, or by a stand-in that says so."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages import preflight, train
from stages.lib import starting_weights
from stages.lib.artifacts import read_json
from stages.lib.dataset import Dataset
from stages.lib.normalise import Normalisation
from stages.lib.preflight_checks import Record, every_check, input_group, start_group
from stages.lib.preflight_subject import Subject, subject_of
from stages.lib.timm_nets import timm_body
from stages.lib.training_data import architecture_for
from stages.lib.weights import save_weights
from tests.mutations import LONG, waves
from tests.prepared_data import bars_dataset
from tests.test_preflight import PARAMS, failed, run, view
from tests.training_fixture import ENGINE, even_plan, train_params, write_encoder


def subject_in(dataset: Dataset, recipe: preflight.TrainView) -> Subject:
    architecture = architecture_for(dataset, recipe.widths, recipe.network)
    steps = preflight.recipe_of(recipe, seed=PARAMS.seed)
    origin = preflight.origin_of(recipe)
    return subject_of(dataset, even_plan(len(dataset.classes)), steps, architecture, 24, origin)


def faults(dataset: Dataset, recipe: preflight.TrainView) -> list[str]:
    checks = every_check(dataset, subject_in(dataset, recipe), LONG, Record())
    return [check.name for check in checks if not check.passed]


def test_a_rate_for_pretrained_weights_is_judged_by_a_stand_in_that_says_so(tmp_path: Path) -> None:
    metrics = run(tmp_path, bars_dataset(90), view(init="pretrain", learning_rate=1e-4))
    assert metrics["judged_learning_rate"] == metrics["suggested_learning_rate"] > 1e-3
    told = {check["name"]: check["why"] for check in read_json(tmp_path / "out/checks.json")["checks"]}
    assert "judged on random weights at a learning rate of" in told["overfit_one_batch"]
    assert "not the recipe's 0.0001" in told["loss_falls"]
    assert "random weights" not in told["update_ratio"]


def test_from_random_weights_that_rate_is_the_one_that_is_judged(tmp_path: Path) -> None:
    assert "overfit_one_batch" in failed(tmp_path, bars_dataset(90), view(learning_rate=1e-4))


def test_a_stand_in_whose_own_rate_is_high_enough_is_judged_at_it(tmp_path: Path) -> None:
    metrics = run(tmp_path, bars_dataset(90), view(init="pretrain", learning_rate=0.03))
    assert metrics["judged_learning_rate"] == 0.03 > metrics["suggested_learning_rate"]


def test_a_rate_absurdly_below_what_random_weights_need_stops_the_chain(tmp_path: Path) -> None:
    message = failed(tmp_path, bars_dataset(90), view(init="pretrain", learning_rate=3e-7))
    assert message.startswith("1 of ")
    assert "learning_rate_least" in message


def trained(folder: Path, dataset: Dataset) -> dict[str, str]:
    """Train a small network on the data and write it; give the keys of train that start from it."""
    encoder = write_encoder(folder / "encoder.safetensors", dataset)
    params = train_params(init="random", epochs=8)
    state, card, _ = train.fit_classifier(dataset, even_plan(3), encoder, params, seed=0)
    path = folder / "theirs.safetensors"
    save_weights(path, state.averaged.state_dict(), card)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"init": "file", "init_file": str(path), "init_sha256": digest}


def test_weights_from_a_file_are_those_that_are_judged_with_what_is_frozen(tmp_path: Path) -> None:
    dataset = bars_dataset(90)
    start = trained(tmp_path, dataset)
    frozen: dict[str, Any] = {"fine_tune": ENGINE["fine_tune"] | {"frozen_layers": 3}}
    for changes in ({"learning_rate": 3e-4}, {**frozen, "learning_rate": 0.01}):
        assert faults(dataset, view(**start | changes)) == []
    subject = subject_in(dataset, view(**start | {"body_rate": 0.0}))
    body = subject.network.body.state_dict()
    theirs = starting_weights.read_third_party(Path(start["init_file"]), start["init_sha256"]).tensors
    assert all(torch.equal(body[name], theirs[f"body.{name}"]) for name in body)
    assert not subject.stands_in


def test_weights_of_timms_bring_their_own_normalisation_and_raise_no_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = waves(200, 32, 3)
    dark = (np.clip(dataset.pixels * 0.3, 0, 255)).astype(np.uint8)
    dataset = Dataset(dataset.sample_ids, dark, dataset.labels, dataset.split, dataset.classes)
    theirs = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.manual_seed(5)
    weights = timm_body("test_resnet", 3, 32)[0].state_dict()
    monkeypatch.setattr(starting_weights, "hub_weights", lambda *_: (weights, theirs))
    start = view(init="timm", network="timm:test_resnet", learning_rate=3e-3)
    subject = subject_in(dataset, start)
    assert subject.data.normalisation == subject.held.normalisation == theirs
    checks = [*input_group(dataset, subject), *start_group(subject)]
    assert {check.name: check.value for check in checks if not check.passed} == {}
