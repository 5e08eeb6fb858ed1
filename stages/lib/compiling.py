"""A network's layers fused into fewer kernels before it learns: torch.compile, where `train.compile` asks.

Every size of batch is compiled by itself: kernels for any size are made once a second size was seen, so that
a resumed run would get other kernels, and other bits, than one in one piece. Random layers draw as they do
uncompiled. On a CPU results differ from those as written by rounding alone.
"""

import os
from typing import Literal

import torch
from torch import nn

from stages.lib.errors import MachineError
from stages.lib.progress import say
from stages.lib.state import state_folder

Compile = Literal["eager", "default", "reduce-overhead", "max-autotune"]
"""As written, or one of torch.compile's modes by its own name; the last two use CUDA graphs."""


CACHE = "TORCHINDUCTOR_CACHE_DIR"
CACHE_ASKED = os.environ.get(CACHE)
"""Where the user wants compiled kernels kept; looked at now, because torch fills it in as soon as it can."""


def compile_network(network: nn.Module, device: torch.device, how: Compile) -> None:
    """Have `network`, which keeps its parameters and their names, compiled at its first batch.

    MachineError where there is no compiler.
    """
    if how == "eager":
        return
    if CACHE_ASKED is None:
        os.environ[CACHE] = str(state_folder() / "inductor")
    import torch._inductor.config as kernels  # a second's worth of imports, for those who compile

    kernels.fallback_random = True
    torch.compiler.reset()  # after eight variants of a forward pass, of all networks, it stops
    _prove_compiler(device)
    say("compiling the network: its first batches take a minute or more")
    network.compile(mode=how, dynamic=False)


def _prove_compiler(device: torch.device) -> None:
    """Compile one sum, so that a machine that cannot says so at once and by name."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(8, device=device))
    except RuntimeError as error:  # torch wraps whatever its backends raise
        reason = str(error).strip().splitlines()[0]
        raise MachineError(
            f"train.compile: torch.compile does not work on this machine ({reason}). On a CPU it needs a C++ "
            "compiler such as g++, on a GPU Triton and gcc. Install them, or set train.compile to eager"
        ) from error
