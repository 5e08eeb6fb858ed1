"""A stage that ASSAY_PROCESSES shares among processes writes what one process writes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from stages.lib.artifacts import read_csv, read_json
from stages.lib.config import read_params
from stages.lib.weights import load_classifier
from tests.prepared_data import bars_dataset, write_prepared
from tests.training_fixture import train_params, write_encoder

ROOT = Path(__file__).parents[1]


def run_stage(folder: Path, out: str, processes: str) -> "subprocess.CompletedProcess[str]":
    """Run `train` as a person would, in `folder`."""
    inputs = ("ingest", "curate", "split", "class_balance", "pretrain")
    command = [sys.executable, "-m", "stages.train", "--seed", "0", "--out", out]
    for name in inputs:
        command += [f"--{name.replace('_', '-')}", name]
    environment = os.environ | {"ASSAY_PROCESSES": processes, "PYTHONPATH": str(ROOT), "ASSAY_DEVICE": "cpu"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    dataset = bars_dataset(60)
    write_prepared(tmp_path, dataset)
    (tmp_path / "pretrain").mkdir()
    write_encoder(tmp_path / "pretrain" / "encoder.safetensors", dataset)
    params = read_params(ROOT / "params.yaml") | {"train": train_params().model_dump(mode="json")}

    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return tmp_path


@pytest.mark.slow
def test_two_processes_write_what_one_writes_and_once(project: Path) -> None:
    for out, processes in (("one", "1"), ("two", "2")):
        done = run_stage(project, out, processes)
        assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (project / "one").iterdir())
    assert sorted(path.name for path in (project / "two").iterdir()) == names
    classes = bars_dataset(60).classes
    one, two = (load_classifier(project / out / "model.safetensors", classes)[0] for out in ("one", "two"))
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-3)
    assert len(read_csv(project / "two" / "history.csv")) == len(read_csv(project / "one" / "history.csv"))
    assert (
        read_json(project / "two" / "metrics.json")["steps"]
        == read_json(project / "one" / "metrics.json")["steps"]
    )


def test_p6_a_number_of_processes_that_is_none_is_refused(project: Path) -> None:
    done = run_stage(project, "out", "many")
    assert done.returncode == 3
    assert "ASSAY_PROCESSES=many" in done.stderr
    assert "Traceback" not in done.stderr
