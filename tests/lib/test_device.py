import os
import resource
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from stages import train
from stages.lib import loop
from stages.lib.blind_networks import blind_network_probs
from stages.lib.device import (
    CUBLAS_WORKSPACE,
    SMALL_SIDE,
    VARIABLE,
    keep_freed_memory,
    ready_to_learn,
    told_of_missing_algorithms,
    torch_device,
)
from stages.lib.errors import InputError, MachineError
from stages.lib.threads import THREADS
from tests.prepared_data import bars_dataset
from tests.training_fixture import even_plan, train_params, write_encoder


def test_threads_follow_from_the_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cpu")
    for side, threads in ((SMALL_SIDE, 1), (SMALL_SIDE + 1, THREADS), (8, 1)):
        assert torch_device(side) == torch.device("cpu")
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize("asked", ["gpu", "cuda:x", "cpu0", "mps", "cuda:-1"])
def test_p6_an_unknown_device_is_refused(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, asked)
    with pytest.raises(MachineError, match="expected auto, cpu, cuda or cuda:<number>"):
        torch_device(8)


@pytest.mark.parametrize(("asked", "there"), [("cuda", 0), ("cuda:0", 0), ("cuda:7", 1)])
def test_p6_a_device_that_is_missing_is_refused_with_the_remedy(
    asked: str, there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, asked)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    message = rf"{asked}: torch sees {there} GPUs here; set ASSAY_DEVICE=cpu or auto"
    with pytest.raises(MachineError, match=message) as caught:
        torch_device(8)
    assert caught.value.exit_code == 3


def test_p6_a_stage_that_learns_asks_for_the_device_before_it_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "cuda:7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    dataset = bars_dataset(30)
    for start in (
        lambda: train.fit_classifier(dataset, even_plan(3), tmp_path / "none", train_params(), 0),
        lambda: blind_network_probs("zeros", dataset, dataset.part("val"), seed=0),
    ):
        with pytest.raises(MachineError, match="set ASSAY_DEVICE=cpu or auto"):
            start()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_memory_that_a_step_frees_is_at_hand_for_the_next() -> None:
    keep_freed_memory()

    def faults_of_a_step() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        kept = [torch.ones(1 << 20) for _ in range(8)]
        del kept
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert min(faults_of_a_step() for _ in range(5)) < 1000  # 8 x 4 MiB are 8,192 pages


@pytest.mark.parametrize(("side", "last"), [(8, False), (32, True)])
def test_small_images_stay_as_they_lie_and_photographs_go_channels_last(side: int, last: bool) -> None:
    network = nn.Conv2d(3, 8, 3)
    ready_to_learn(network, torch.zeros((1, 3, side, side), dtype=torch.uint8))
    assert network.weight.is_contiguous(memory_format=torch.channels_last) is last
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize("asked", [False, True])
def test_elsewhere_than_on_a_cpu_the_same_bits_each_time_are_had_for_the_asking(
    monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.setenv(CUBLAS_WORKSPACE, "put back afterwards")
    monkeypatch.delenv(CUBLAS_WORKSPACE)
    elsewhere = torch.zeros((1, 3, 8, 8), dtype=torch.uint8, device="meta")
    ready_to_learn(nn.Conv2d(3, 8, 3), elsewhere, deterministic=asked)
    assert torch.are_deterministic_algorithms_enabled() is asked
    assert os.environ.get(CUBLAS_WORKSPACE) == (":4096:8" if asked else None)


def test_train_asks_for_them_as_its_params_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, asked = bars_dataset(30), []
    encoder = write_encoder(tmp_path / "encoder.safetensors", dataset)
    monkeypatch.setattr(loop, "ready_to_learn", lambda *_, deterministic: asked.append(deterministic))
    for wanted in (True, False):
        params = train_params(epochs=1, head_epochs=0, deterministic=wanted)
        train.fit_classifier(dataset, even_plan(3), encoder, params, 0)
    assert asked == [True, True, False, False]


def test_an_operation_that_has_no_such_algorithm_is_named_with_the_remedy() -> None:
    pooled, at = nn.functional.max_pool2d(torch.rand(1, 1, 4, 4), 2, return_indices=True)
    torch.use_deterministic_algorithms(True)
    remedy = pytest.raises(InputError, match=r"max_unpooling2d.*train\.deterministic: false")
    with remedy, told_of_missing_algorithms():
        nn.functional.max_unpool2d(pooled, at, 2)
    with pytest.raises(RuntimeError, match="something else"), told_of_missing_algorithms():
        raise RuntimeError("something else")


def test_p6_each_process_of_a_team_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert torch_device(8) == torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MachineError, match="cuda:1: torch sees 1 GPUs here"):
        torch_device(8)
