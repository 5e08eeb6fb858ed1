"""A stage's shell: arguments from `run`, one writer, readable errors, and an end with its parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.lib.artifacts import read_json
from stages.lib.cli import flat_numbers

ROOT = Path(__file__).parent.parent.parent

TOY = '''
"""A toy."""
import os, sys, time
from pathlib import Path
import numpy as np
from pydantic import Field
from stages.lib.cli import Context, stage_main
from stages.lib.config import Section
from stages.lib.errors import InputError


class Params(Section):
    factor: int = Field(ge=1)


class View(Section):
    seeds: tuple[int, ...]


def run(params: Params, *, seed: int, out: Path, train: View, context: Context) -> dict:
    Path("started").write_text(str(os.getpid()))
    if seed == 13:
        raise InputError("file.csv, row 3: seed 13 is unlucky: take another")
    if seed == 40:
        np.empty((10**9, 10**6))
    if seed == 41:
        raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2 GiB")
    if seed == 42:
        raise RuntimeError("a bug")
    if seed == 99:
        time.sleep(60)
    return {"product": params.factor * seed, "seeds": len(train.seeds), "stage": context.stage}


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
'''


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "params.yaml").write_text("toy: {factor: 3}\ntrain: {seeds: [0, 1], epochs: 5}\n")
    return tmp_path


def command(seed: int) -> list[str]:
    return [sys.executable, "toy.py", "--seed", str(seed), "--out", "data/toy"]


def start(folder: Path, seed: int) -> "subprocess.Popen[str]":
    """Start the toy stage as a terminal would: Ctrl-C reaches it, whatever started the tests ignores."""
    return subprocess.Popen(
        command(seed),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (one thread)
    )


def finish(folder: Path, seed: int) -> tuple[int, str]:
    process = start(folder, seed)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)
    return path.read_text()


def test_run_gets_options_params_a_foreign_view_and_the_context(toy: Path) -> None:
    code, errors = finish(toy, 2)
    assert code == 0, errors
    assert read_json(toy / "data/toy/metrics.json") == {"product": 6, "seeds": 2, "stage": "toy"}


def test_a_fault_in_the_input_is_one_message_and_exit_code_2(toy: Path) -> None:
    code, errors = finish(toy, 13)
    assert code == 2
    assert "row 3: seed 13 is unlucky" in errors
    assert "Traceback" not in errors
    assert not (toy / "data/toy/metrics.json").exists()


def test_F10_too_little_memory_is_one_message_and_exit_code_3(toy: Path) -> None:
    code, errors = finish(toy, 40)
    assert code == 3
    assert "toy: out of memory" in errors
    assert "(1000000000, 1000000)" in errors
    assert "Traceback" not in errors


def test_F11_a_full_gpu_is_one_message_and_a_bug_stays_a_traceback(toy: Path) -> None:
    code, errors = finish(toy, 41)
    assert code == 3
    assert "toy: out of memory: CUDA out of memory. Tried to allocate 2 GiB" in errors
    assert "Traceback" not in errors
    assert "RuntimeError: a bug" in finish(toy, 42)[1]


def test_a_fault_in_the_params_stops_before_run(toy: Path) -> None:
    (toy / "params.yaml").write_text("toy: {factor: 0}\ntrain: {seeds: [0]}\n")
    code, errors = finish(toy, 2)
    assert code == 2
    assert "toy.factor: should be greater than or equal to 1" in errors
    assert not (toy / "started").exists()


def test_F16_a_second_writer_of_the_same_folder_is_refused_with_the_firsts_pid(toy: Path) -> None:
    first = start(toy, 99)
    pid = wait_for(toy / "started")
    code, errors = finish(toy, 2)
    first.kill()
    first.communicate()
    assert code == 75
    assert f"process {pid}" in errors


def test_F2_a_stage_ends_when_the_process_that_started_it_is_killed(toy: Path) -> None:
    launcher = f"import subprocess, time; subprocess.Popen({command(99)!r}); time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", launcher], cwd=toy, env=environment)
    pid = int(wait_for(toy / "started"))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_F4_an_interrupted_stage_says_so_and_exits_130(toy: Path) -> None:
    process = start(toy, 99)
    wait_for(toy / "started")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "toy: interrupted; `make repro` goes on from here" in errors
    assert "Traceback" not in errors
    assert finish(toy, 2)[0] == 0  # nothing is left that would hinder the next run


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended and waits to be reaped does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_nested_metrics_become_flat_names_and_text_is_left_out() -> None:
    nested = {"test": {"seed0": {"top1": 0.5, "name": "x"}}, "n": 3, "none": None}
    assert flat_numbers(nested) == {"test/seed0/top1": 0.5, "n": 3.0}
