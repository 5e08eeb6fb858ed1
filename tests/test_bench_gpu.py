"""The bench for GPUs, run small on a CPU: every row is printed; it imports little beside torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_data import shared_data

pytestmark = pytest.mark.slow

ABSENT = ("cleanlab", "dvc", "faiss", "great_expectations", "mlflow", "pydantic", "typer", "yaml")
"""Packages of this project that a machine with a GPU and torch need not have."""

RUN_WITHOUT = f"""
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")

sys.meta_path.insert(0, Absent())
sys.argv = ["bench.gpu", "--small", "--runs", "1"]
runpy.run_module("bench.gpu", run_name="__main__")
"""


ROOT = Path(__file__).parent.parent


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_row_runs_small_without_the_packages_that_training_does_not_need() -> None:
    done = run("-c", RUN_WITHOUT, ASSAY_SHARED_DATA=str(shared_data()), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "94 %, this loop, as written" in done.stdout
    assert done.stdout.count(" 1 epochs, val accuracy ") == 4
    assert "96 %, ratio: " in done.stdout
    assert done.stdout.count("speed, ") == 4
    assert "resume: the same run twice differs by 0, one in two halves by 0 " in done.stdout
    assert "streaming: differs by 0," in done.stdout


def test_a_machine_without_a_gpu_is_told_so() -> None:
    done = run("-m", "bench.gpu", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert done.stderr.startswith("torch sees no GPU here; --small")
