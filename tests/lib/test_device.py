import pytest
import torch

from stages.lib.device import SMALL_SIDE, VARIABLE, torch_device
from stages.lib.errors import MachineError
from stages.lib.threads import THREADS


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


def test_p6_a_device_that_is_missing_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cuda:7")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(MachineError, match=r"torch sees 1 GPUs here; set ASSAY_DEVICE=cpu or auto"):
        torch_device(8)
