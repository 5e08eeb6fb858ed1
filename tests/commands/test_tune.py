"""A search trains as the stage does, reads no test row, survives its death, and leaves stages alone."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState

from stages import train
from stages.commands import tune_work
from stages.commands.tune import tune
from stages.commands.tune_setup import load_setup
from stages.commands.tune_trial import Outcome, Recipe, run_trial
from stages.lib.artifacts import read_csv
from stages.lib.class_plan import read_plan
from stages.lib.config import load_section
from stages.lib.dataset import load_dataset
from stages.lib.errors import InputError
from stages.lib.journal import Journal
from stages.lib.search_space import patched
from stages.lib.study_samplers import Halving
from stages.lib.study_storage import folder
from stages.lib.tune_data import load_material
from stages.lib.yaml_edit import with_values
from stages.lib.yaml_file import read_yaml
from tests.postgres_server import postgres
from tests.prepared_data import bars_dataset
from tests.training_fixture import WIDTHS
from tests.tune_project import SPACE, write_params, write_tune_project


def search(root: Path, trials: int = 0, **options: Any) -> list[dict[str, str]]:
    """Run the command in `root`; return the rows of trials.csv."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("ASSAY_STATE", str(root / ".assay"))
        patch.setenv("ASSAY_TRACKING", options.get("tracking", "off"))
        patch.setattr("stages.commands.tune.pin_threads", lambda: None)  # the tests' own threads stay
        tune(trials, options.get("workers", 0), options.get("study", ""), options.get("apply", False))
    return read_csv(study_folder(root, options.get("study", "")) / "trials.csv")


def study_folder(root: Path, name: str = "") -> Path:
    (found,) = (root / ".assay/tune").glob(name or "study-*")
    return found


def digests(place: Path) -> dict[str, str]:
    files = [path for path in sorted(place.rglob("*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished search of three trials."""
    root = write_tune_project(tmp_path_factory.mktemp("done"))
    before = digests(root / "data")
    search(root)
    assert digests(root / "data") == before, "no stage's folder was written to"
    return root


def test_as_many_trials_are_finished_as_were_asked_for_the_first_as_the_params_stand(done: Path) -> None:
    rows = search(done)  # again: nothing is trained
    assert [(row["trial"], row["state"], row["epochs"]) for row in rows] == [
        ("0", "complete", "4"),
        ("1", "complete", rows[1]["epochs"]),
        ("2", "complete", rows[2]["epochs"]),
    ]
    params = read_yaml(done / "params.yaml")["train"]
    assert float(rows[0]["train.learning_rate"]) == params["learning_rate"]
    assert rows[0]["train.schedule.kind"] == "cosine"
    names = {path.name for path in study_folder(done).iterdir()}
    assert {"trials.csv", "importance.csv", "report.html", "winner.yaml"} <= names
    assert not list(study_folder(done).glob("checkpoints/*"))


def test_the_first_trial_is_what_the_stage_trains(done: Path) -> None:
    params = load_section(train.Params, "train", done / "params.yaml")
    data = done / "data"
    dataset = load_dataset(data / "ingest", data / "curate", data / "split")
    plan = read_plan(data / "class_balance", dataset.classes)
    seed = read_yaml(done / "params.yaml")["tune"]["seed"]
    state, _, _ = train.fit_classifier(dataset, plan, data / "pretrain/encoder.safetensors", params, seed)
    first = read_csv(study_folder(done) / "trials.csv")[0]
    assert float(first["value"]) == pytest.approx(float(state.history[-1]["val_loss"]), rel=1e-5)


def test_no_test_row_is_read(done: Path, tmp_path: Path) -> None:
    dataset = bars_dataset(90)
    test = dataset.part("test")
    pixels, labels = dataset.pixels.copy(), dataset.labels.copy()
    pixels[test] = 255 - pixels[test]
    labels[test] = (labels[test] + 1) % 3
    other = write_tune_project(tmp_path, replace(dataset, pixels=pixels, labels=labels))
    search(other)
    seen = load_material(other / "data", votes=False).dataset
    assert set(seen.split) == {"train", "val"}
    assert not set(seen.sample_ids) & {dataset.sample_ids[row] for row in test}
    assert study_folder(other).name == study_folder(done).name
    for name in ("trials.csv", "winner.yaml", "report.html"):
        assert (study_folder(other) / name).read_bytes() == (study_folder(done) / name).read_bytes()


def test_what_a_study_hangs_on_names_it(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no dvc.yaml names the sources

    def name(root: Path, dataset: Any = None, **changes: Any) -> str:
        write_tune_project(root, dataset, **changes) if dataset else write_params(root, **changes)
        return load_setup(root / "params.yaml", root / "data", "").name

    root = write_tune_project(tmp_path / "same")
    usual = name(root)
    assert usual == study_folder(done).name
    assert name(root, trials=50, workers=4) == usual
    others = [name(root, seed=1), name(root, metric="val_top1_accuracy"), name(root, epochs=2)]
    others.append(name(root, space=SPACE | {"train.dropout": {"low": 0.0, "high": 0.5}}))
    dataset = bars_dataset(90)
    pixels = dataset.pixels.copy()
    pixels[dataset.part("val")[0]] += 1
    others.append(name(tmp_path / "val", replace(dataset, pixels=pixels)))
    assert len({usual, *others}) == 6


def test_the_winner_is_written_into_the_params_and_every_comment_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    low = {"low": 3.0e-3, "high": 1.0e-1, "log": True}
    root = write_tune_project(tmp_path, space=SPACE | {"train.learning_rate": low})
    before = (root / "params.yaml").read_text()
    search(root, apply=True)
    after = (root / "params.yaml").read_text()
    patch = read_yaml(study_folder(root) / "winner.yaml")
    rows = read_csv(study_folder(root) / "trials.csv")
    winner = min(rows, key=lambda row: float(row["value"]))
    assert winner["trial"] != "0"
    assert patch["train"]["learning_rate"] == float(winner["train.learning_rate"])
    assert read_yaml(root / "params.yaml")["train"]["learning_rate"] == patch["train"]["learning_rate"]
    changed = [old for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert 1 <= len(changed) <= len(SPACE)
    shown = "It is ahead beyond chance" in (study_folder(root) / "winner.yaml").read_text()
    told = capsys.readouterr().err
    assert ("That it is better at all is not shown" in told) is not shown


def test_channels_can_be_searched_where_training_starts_at_random(tmp_path: Path) -> None:
    lists = [list(WIDTHS), [8, 8], [24, 32]]
    root = write_tune_project(tmp_path, space={"train.widths": {"choices": lists}}, trials=4)
    params = root / "params.yaml"
    params.write_text(with_values(params.read_text(), {"train.init": "random"}, "params.yaml"))
    search(root, apply=True)
    rows = read_csv(study_folder(root) / "trials.csv")
    best = min(rows, key=lambda row: float(row["value"]))
    assert json.loads(rows[0]["train.widths"]) == list(WIDTHS)
    assert json.loads(best["train.widths"]) == read_yaml(params)["train"]["widths"] == [24, 32]


def test_a_combination_that_train_refuses_and_a_loss_that_is_no_number_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {
        "train.schedule.kind": {"choices": ["cosine", "exponential"]},
        "train.schedule.final": {"choices": [0.0, 0.5]},
    }
    root = write_tune_project(tmp_path, space=space)
    whole = tune_work.run_trial

    def diverges(*arguments: Any, **named: Any) -> Outcome:
        found = whole(*arguments, **named)
        if found.scores is None or arguments[1]["train.schedule.kind"] == "cosine":
            return found
        return Outcome(np.full_like(found.scores, np.nan), "", found.epochs)

    monkeypatch.setattr(tune_work, "run_trial", diverges)
    rows = search(root, trials=8)
    kinds = {(row["train.schedule.kind"], row["train.schedule.final"]): row for row in rows}
    refused = kinds["exponential", "0.0"]
    assert refused["state"] == "refused"
    assert "kind exponential never reaches 0" in refused["reason"]
    assert kinds["exponential", "0.5"]["state"] == "diverged"
    assert rows[0]["state"] == "complete"
    assert len(rows) == 8


def test_a_trial_that_another_took_is_left_to_it_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_tune_project(tmp_path)
    lost: list[int] = []

    def taken(_recipe: Any, _values: Any, material: Any, *others: Any, **_: Any) -> Outcome:
        trial = others[2]
        if not lost:
            lost.append(trial.number)
            trial.study.tell(trial.number, state=TrialState.FAIL)  # as a worker elsewhere would
            trial.report(0.5, 1)
        return Outcome(np.full((len(material.val_labels), 1), 0.5, np.float32), "", 1)

    monkeypatch.setattr(tune_work, "run_trial", taken)
    assert [row["state"] for row in search(root)] == ["complete"] * 3
    assert "trial 0: claim lost" in capsys.readouterr().err


def test_hopeless_trials_end_early_and_never_the_first(tmp_path: Path) -> None:
    space = {"train.learning_rate": {"low": 1.0e-7, "high": 1.0e-1, "log": True}}
    root = write_tune_project(tmp_path, space=space, pruner="successive_halving", trials=8)
    rows = search(root)
    states = [row["state"] for row in rows]
    assert states[0] == "complete"
    assert "pruned" in states
    assert all(int(row["epochs"]) < 4 and not row["value"] for row in rows if row["state"] == "pruned")


def test_what_has_not_run_and_what_is_wrong_is_told_before_any_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tune_project(tmp_path)
    with pytest.raises(InputError, match="names a folder"):
        search(root, study="../away")
    write_params(root, space={"train.dropuot": {"low": 0.0, "high": 0.5}})
    with pytest.raises(InputError, match=r"did you mean 'train\.dropout'"):
        search(root)
    write_params(root)
    whole = (root / "params.yaml").read_text(encoding="utf-8")
    for line, other, told in (
        ("epochs: 3", "epochs: thirty", "train.epochs: should be a valid integer"),
        ("dropout:", "dropuot:", "train.dropuot: unknown key; did you mean 'dropout'"),
        ("clip_norm: 0.0", "clip_norm: many", "train.clip_norm: should be a valid number"),
    ):
        assert f"\n  {line}" in whole
        wrong = whole.replace(f"\n  {line}", f"\n  {other}", 1)
        (root / "params.yaml").write_text(wrong, encoding="utf-8")
        with pytest.raises(InputError, match=told):
            search(root)
    (root / "params.yaml").write_text(
        with_values(whole, {"train.widths": [8] * 5}, "params.yaml"), encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"train\.widths: .* are 5 stages"):
        search(root)
    write_params(root)
    (root / "data/class_balance/plan.json").unlink()
    with pytest.raises(InputError, match="`make repro` makes it"):
        search(root)
    assert not folder().exists()


def start(root: Path, *options: str, **environment: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "stages.commands.main", "tune", *options]
    own = {"ASSAY_STATE": str(root / ".assay"), "PYTHONPATH": os.pathsep.join(sys.path)}
    with (root / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=root, env=os.environ | own | environment, stdout=log, stderr=log)


@pytest.mark.slow  # a death without processes is in tests/lib/test_study.py
def test_killed_in_mid_trial_it_goes_on_from_the_last_epoch_to_the_same_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"train.learning_rate": SPACE["train.learning_rate"]}
    changes: dict[str, Any] = {"space": space, "epochs": 8, "pruner": "median", "trials": 2}
    expected = search(write_tune_project(tmp_path / "whole", **changes))
    root = write_tune_project(tmp_path / "killed", **changes)
    process = start(root)
    deadline = time.monotonic() + 120
    while not list((root / ".assay/tune").glob("study-*/checkpoints/1/seed*/epoch-00000[2-9]")):
        assert process.poll() is None, (root / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    capsys.readouterr()
    assert search(root) == expected
    told = capsys.readouterr().err
    assert "1 trials finished, 1 of 2 to go" in told
    assert re.search(r"training seed \d+: resuming after epoch \d+ of 9", told)


@pytest.mark.filterwarnings("default")  # MLflow's own warnings are not ours
def test_each_trials_run_is_nested_in_the_studys_and_the_params_are_those_it_trained_with(
    tmp_path: Path,
) -> None:
    root = write_tune_project(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
        patch.setattr("stages.commands.tune.start_sender", lambda: None)
        rows = search(root, tracking="on")
        search(root, tracking="on")
        from stages.lib.mirror import Mirror

        mirror = Mirror.open(tmp_path)
        runs = mirror.client.search_runs([mirror.experiment_id])
    named = {run.info.run_name: run for run in runs}
    assert sorted(named) == sorted(run.info.run_name for run in runs), "the study's run is one, asked twice"
    parent = named[f"tune {study_folder(root).name}"]
    assert parent.info.status == "FINISHED"
    best = min(float(row["value"]) for row in rows)
    assert parent.data.metrics["tune/best"] == pytest.approx(best)
    assert {file.path for file in mirror.client.list_artifacts(parent.info.run_id)} >= {
        "trials.csv",
        "report.html",
    }
    for row in rows:
        run = named[f"tune@{row['trial']}"]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert float(run.data.params["train.learning_rate"]) == float(row["train.learning_rate"])
        losses = mirror.client.get_metric_history(run.info.run_id, "val_loss")
        assert [point.step for point in losses] == list(range(1, int(row["epochs"]) + 1))
        assert run.data.metrics["tune/value"] == pytest.approx(float(row["value"]))


def test_workers_are_started_while_the_command_has_no_thread_of_its_own(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    class Child:
        returncode = 0

        def __init__(self, *_: Any, **__: Any) -> None:
            order.append("worker")

        def poll(self) -> int:
            return 0

        terminate = wait = poll

    def track(steps: Any, *_: Any, **__: Any) -> Any:
        order.append("progress bar")
        return steps

    monkeypatch.setattr("stages.commands.tune.subprocess.Popen", Child)
    monkeypatch.setattr("stages.commands.tune.track", track)
    search(done, trials=5, workers=2)
    assert order == ["worker", "worker", "progress bar"]


@pytest.mark.slow
def test_two_workers_of_the_command_share_a_postgresql_database(tmp_path: Path) -> None:
    alone = search(write_tune_project(tmp_path / "alone", trials=5))
    root = write_tune_project(tmp_path / "shared", trials=5)
    with postgres(tmp_path) as url:
        process = start(root, "--workers", "2", ASSAY_TUNE_STORAGE=url)
        assert process.wait(300) == 0, (root / "log").read_text()
        found = read_csv(study_folder(root) / "trials.csv")
    assert found == alone
    assert not (root / ".assay/tune/studies.db").exists()


@pytest.mark.slow
def test_a_worker_that_fails_is_told_with_its_last_words_and_the_others_finish(tmp_path: Path) -> None:
    root = write_tune_project(tmp_path, trials=3)
    (root / "data/pretrain/encoder.safetensors").write_bytes(b"not weights")
    process = start(root, "--workers", "2")
    assert process.wait(300) == 3
    told = (root / "log").read_text()
    assert "2 of 2 workers failed" in told
    assert "encoder.safetensors" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_killed_with_its_workers_it_leaves_none_behind(tmp_path: Path) -> None:
    root = write_tune_project(tmp_path, trials=4, epochs=300)
    process = start(root, "--workers", "2")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while len(children.read_text().split()) < 2:
        assert process.poll() is None, (root / "log").read_text()
        time.sleep(0.01)
    workers = children.read_text().split()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived the command"
        time.sleep(0.1)


@pytest.mark.slow
def test_asked_to_end_it_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    root = write_tune_project(tmp_path, trials=2, epochs=300)
    process = start(root)
    while not list((root / ".assay/tune").glob("study-*/checkpoints/0/seed*/epoch-*")):
        assert process.poll() is None, (root / "log").read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert "trial 0 is saved; `assay tune` goes on from here" in (root / "log").read_text()


class Listening:
    """A trial that notes what it is told, and never ends early."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def report(self, value: float, step: int) -> None:
        assert value > 0
        self.steps.append(step)

    def should_prune(self) -> bool:
        return False


def test_every_seed_trains_a_network_of_its_own_and_the_pruner_hears_of_the_first(
    done: Path, tmp_path: Path
) -> None:
    setup = load_setup(done / "params.yaml", done / "data", "")
    section = patched(setup.section, {"train.epochs": 1})

    def scores(*seeds: int) -> np.ndarray:
        trial, folder = Listening(), tmp_path / str(seeds)
        recipe = Recipe(section, "val_loss", seeds)
        journal = Journal.silent()
        found = run_trial(recipe, {}, setup.material, folder, "k", trial, journal, may_stop=True)  # type: ignore[arg-type]
        assert trial.steps == [1, 2]
        assert found.epochs == 2 * len(seeds)
        assert found.scores is not None
        return found.scores

    np.testing.assert_array_equal(scores(3, 4), np.hstack([scores(3), scores(4)]))


def test_the_epochs_of_the_head_alone_count_among_those_that_trials_are_stopped_after(
    tmp_path: Path,
) -> None:
    root = write_tune_project(tmp_path, bars_dataset(30), epochs=8, pruner="successive_halving")

    def rungs() -> tuple[int, ...]:
        pruner = load_setup(root / "params.yaml", root / "data", "").plan.pruner
        assert isinstance(pruner, Halving)
        return pruner.rungs

    assert rungs() == Halving(9).rungs != Halving(8).rungs
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(with_values(text, {"train.init": "random"}, "params.yaml"))
    assert rungs() == Halving(8).rungs
