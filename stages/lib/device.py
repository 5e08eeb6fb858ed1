"""Where tensors live: `ASSAY_DEVICE` is `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:<n>`."""

import os

import torch

from stages.lib.errors import MachineError
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
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = asked.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise MachineError(f"{VARIABLE}={asked}: expected auto, cpu, cuda or cuda:<number>")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise MachineError(f"{VARIABLE}={asked}: torch sees {found} GPUs here; set {VARIABLE}=cpu or auto")
    return torch.device(asked)
