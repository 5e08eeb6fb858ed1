"""A compiled network learns what one as written does, resumes to the same bytes, and says when it cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from stages.lib import compiling_check
from stages.lib.checks import Check
from stages.lib.compiling import Compile, compile_network
from stages.lib.compiling_check import compiled_gradient
from stages.lib.counters import generator
from stages.lib.nets import Architecture, new_classifier
from stages.lib.network_names import RESIDUAL, WHITENED
from stages.lib.precision import Precision
from tests.bars_set import bars_set
from tests.lib.test_engine import network, task

ROOT = Path(__file__).parents[2]

COMPILED = """
import sys
from dataclasses import replace
from pathlib import Path
from stages.lib.checkpoint import CheckpointStore
from stages.lib.loop import fit
from stages.lib.loop_state import LoopState
from stages.lib.termination import TerminatedError
from tests.bars_set import bars_set
from tests.lib.test_engine import PLAIN, network, task

how, folder, terminate_at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
recipe = replace(PLAIN, compiled=how)
start = LoopState.start(network(dropout=0.2), recipe)
try:
    store = CheckpointStore(folder, "k")
    state = fit(start, task(terminate_at=terminate_at), bars_set()[0], recipe, store=store)
except TerminatedError:
    sys.exit("left")
"""

TOLD = """
import hashlib, json
numbers = {name: value.numpy().tobytes() for name, value in state.averaged.state_dict().items()}
digest = hashlib.sha256(b"".join(numbers.values())).hexdigest()
losses = [row["train_loss"] for row in state.history]
print(json.dumps({"digest": digest, "losses": losses, "names": list(numbers)}))
"""


def test_as_written_nothing_is_compiled() -> None:
    net = network()
    compile_network(net, torch.device("cpu"), "eager")
    assert net._compiled_call_impl is None


def checked(network: nn.Module, precision: Precision) -> Check:
    data, index = bars_set()[0], torch.arange(24)
    images = data.images.float() / 255 - 0.5
    return compiled_gradient(network, task(), images, index, precision, "default")


def test_a_compiler_that_changes_what_is_learned_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def untouched(network: nn.Module, device: torch.device, how: Compile) -> None:
        del network, device, how

    def forgetful(network: nn.Module, device: torch.device, how: Compile) -> None:
        del device, how
        network.register_forward_hook(lambda *call: call[-1] * call[-1].new_tensor(float("nan")))

    def doubling(network: nn.Module, device: torch.device, how: Compile) -> None:
        del device, how
        network.register_forward_hook(lambda *call: 2 * call[-1])

    for compiler, passes in ((untouched, True), (forgetful, False), (doubling, False)):
        monkeypatch.setattr(compiling_check, "compile_network", compiler)
        assert checked(network(), "bfloat16").passed is passes, compiler.__name__


@pytest.mark.slow
@pytest.mark.parametrize("name", [RESIDUAL, WHITENED])
def test_the_networks_of_ours_compile_to_the_same_gradients_in_short_numbers(name: str) -> None:
    shape = Architecture(1, 8, (8, 16), 3, name)
    net = new_classifier(shape, torch.zeros(3), generator(torch.device("cpu"), "compiling"))
    check = checked(net, "bfloat16")
    assert check.passed, check


def train(
    how: str, folder: Path, terminate_at: int = -1, **environment: str
) -> subprocess.CompletedProcess[str]:
    where = {"ASSAY_STATE": str(folder.parent / "state"), "OMP_NUM_THREADS": "1"}
    given = {name: value for name, value in os.environ.items() if not name.startswith("TORCHINDUCTOR")}
    return subprocess.run(
        [sys.executable, "-c", COMPILED + TOLD, how, str(folder), str(terminate_at)],
        cwd=ROOT,
        env=given | where | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_r1_a_compiled_training_learns_as_one_as_written_and_resumes_to_the_same_bytes(
    tmp_path: Path,
) -> None:
    plain = json.loads(train("eager", tmp_path / "plain").stdout)
    whole = json.loads(train("default", tmp_path / "whole").stdout)
    assert whole["names"] == plain["names"]
    assert whole["losses"] == pytest.approx(plain["losses"], rel=1e-5)
    assert whole["digest"] != plain["digest"], "nothing was compiled"
    left = train("default", tmp_path / "parts", terminate_at=5)
    assert left.stderr.endswith("left\n")
    again = train("default", tmp_path / "parts")
    assert "resuming" in again.stderr + again.stdout
    assert json.loads(again.stdout.splitlines()[-1]) == whole
    assert (tmp_path / "state" / "inductor").is_dir()


@pytest.mark.slow
def test_without_a_compiler_the_param_to_change_is_named(tmp_path: Path) -> None:
    done = train("default", tmp_path / "none", CXX=str(tmp_path / "absent-compiler"))
    assert "MachineError: train.compile: torch.compile does not work on this machine" in done.stderr
    assert "set train.compile to eager" in done.stderr
