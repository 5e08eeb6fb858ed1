"""Where tensors live: `ASSAY_DEVICE` is `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:<n>`.

And how they lie there while a network learns: `ready_to_learn` costs nothing and saves a quarter of the time.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from stages.lib.errors import InputError, MachineError
from stages.lib.threads import THREADS

VARIABLE = "ASSAY_DEVICE"


SMALL_SIDE = 16
"""Up to this image side a step is too short to share: on digits a second thread doubled the CPU time and cut
no wall time on an idle machine, and on a busy one cost eight times the CPU (threads spin while they wait)."""


def torch_device(image_side: int) -> torch.device:
    """Choose the device and fix the thread count; MachineError when the device is not there.

    The device is environment, not a param: it changes speed, and the result only within rounding. On a CPU
    results are bit-equal from run to run at a fixed thread count, so that count follows from the data alone.
    """
    device = _parse(os.environ.get(VARIABLE) or "auto")
    torch.set_num_threads(1 if image_side <= SMALL_SIDE else THREADS)
    return device


def _parse(asked: str) -> torch.device:
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and "LOCAL_RANK" in os.environ:
        asked = f"cuda:{os.environ['LOCAL_RANK']}"  # torchrun: a GPU for each process
    kind, _, number = asked.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise MachineError(f"{VARIABLE}={asked}: expected auto, cpu, cuda or cuda:<number>")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise MachineError(f"{VARIABLE}={asked}: torch sees {found} GPUs here; set {VARIABLE}=cpu or auto")
    return torch.device(asked)


def ready_to_learn(network: nn.Module, images: torch.Tensor, *, deterministic: bool = False) -> None:
    """Lay the network out as its images (N, C, H, W) lie, fix the algorithms, and keep freed memory at hand.

    On a CPU, and elsewhere where it is asked for, only those algorithms are used that give the same bits each
    time. torch then also fills every new tensor with NaN, to show who reads what nobody wrote; nothing here
    does, and it costs 5 % of a step.
    """
    # Not where the device is chosen: it imports a second's worth of torch that inference goes without.
    torch.use_deterministic_algorithms(deterministic or images.device.type == "cpu")
    if deterministic:
        os.environ.setdefault(CUBLAS_WORKSPACE, ":4096:8")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if images.device.type == "cpu":
        keep_freed_memory()
    if images.shape[-1] > SMALL_SIDE:
        network.to(memory_format=torch.channels_last)


CUBLAS_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS gives the same bits each time only with workspaces of fixed sizes; NVIDIA names two, this is the
faster one (cuBLAS documentation, Results Reproducibility). torch refuses matrix products without."""


@contextmanager
def told_of_missing_algorithms() -> Iterator[None]:
    """Turn torch's refusal of an operation that cannot give the same bits each time into InputError."""
    try:
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        what = str(error).partition(" does not have")[0]
        raise InputError(
            f"{what}, which this network learns by, has no algorithm in PyTorch that gives the same bits "
            "each time; take another network or, on a GPU, train.deterministic: false"
        ) from error


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""Names of mallopt's options in glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Ask glibc's allocator not to return memory to the system between steps; elsewhere do nothing.

    A step frees and takes the same activations again. By default each goes back and comes anew, page by
    page: 200,000 page faults for 1,000 images, 10 to 15 % of the CPU time.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # absent from musl
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 32 << 20)  # glibc takes no more
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 64 << 20)
