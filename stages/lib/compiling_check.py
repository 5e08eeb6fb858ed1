"""Does a compiled network learn what it learns as written? Preflight asks where `train.compile` is on.

A compiler may fuse what was written apart: in bfloat16 a maximum was once stored rounded, computed again
unrounded to find where it had come from, found nowhere, and every gradient became NaN.
"""

import copy

import torch
from torch import nn

from stages.lib.checks import Check, at_most
from stages.lib.compiling import Compile, compile_network
from stages.lib.counters import generator
from stages.lib.precision import Precision, arithmetic
from stages.lib.tasks import Task

SLACK = 0.01
"""Float32's rounding in another order moved gradients by 4e-5 of their length at most (three networks)."""


def compiled_gradient(
    network: nn.Module,
    task: Task,
    images: torch.Tensor,
    index: torch.Tensor,
    precision: Precision,
    how: Compile,
) -> Check:
    """Measure how far the compiled gradient is from float32's as written, as a share of its length.

    images (B, C, H, W) ready for the network, of the samples at `index` (B,). The bound is twice what the
    recipe's own precision costs uncompiled, and SLACK.
    """

    def gradient(one: nn.Module, how_precise: Precision) -> torch.Tensor:
        one.zero_grad()
        with arithmetic(images.device, how_precise):
            loss = task.loss(one, images, index, generator(images.device, "compiled"))
        loss.backward()  # type: ignore[no-untyped-call]
        parts = [each.grad.flatten() for each in one.parameters() if each.grad is not None]
        return torch.cat(parts).double()

    written, compiled = copy.deepcopy(network).train(), copy.deepcopy(network).train()
    compile_network(compiled, images.device, how)
    exact = gradient(written, "float32")
    own, found = (
        float((gradient(each, precision) - exact).norm() / exact.norm()) for each in (written, compiled)
    )
    why = "compiled, the network must learn what it learns as written: set train.compile to eager"
    return at_most("compiled_gradient", found, SLACK + 2 * own, why)
