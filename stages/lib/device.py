"""Where tensors live: `ASSAY_DEVICE` is `auto` (a GPU when there is one), `cpu`, `cuda` or `cuda:<n>`."""

import os

import torch

from stages.lib.errors import EnvironmentFault
from stages.lib.threads import THREADS

VARIABLE = "ASSAY_DEVICE"


def torch_device(asked: str | None = None) -> torch.device:
    """Choose the device and make torch repeat itself on it; EnvironmentFault when it is not there.

    The device is environment, not a param: it changes the speed, and the result only within rounding. On a
    CPU, results are bit-equal from run to run at a fixed thread count (another count sums in another order).
    """
    device = _parse(asked or os.environ.get(VARIABLE) or "auto")
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(device.type == "cpu")
    return device


def _parse(asked: str) -> torch.device:
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = asked.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise EnvironmentFault(f"{VARIABLE}={asked}: expected auto, cpu, cuda or cuda:<number>")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise EnvironmentFault(
            f"{VARIABLE}={asked}: torch sees {found} GPUs here; set {VARIABLE}=cpu or auto"
        )
    return torch.device(asked)
