"""The method to be measured against, written anew: 96 % on CIFAR-10 in 27.3 s on an A100.

Facts and figures are those of Jordan's airbench96_faster (KellerJordan/cifar10-airbench, 2024); the code is
this project's. A small network goes first over the same batches and marks the half of each that it finds
hardest; the large one learns from those alone. Beside bench/airbench_method.py, whose views and judgement
it shares, nothing here is used elsewhere.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from bench.airbench_method import SMOOTHING, Pictures, accuracy, clock, draw, moved, place, whitening_kernels

MOMENTUM, RATE, DECAY, BIAS_FACTOR = 0.85, 9.0, 0.012, 64.0
"""Rate and decay are for 1,024 pictures; DECAY is what is lost a step, whatever the rate."""

REACH, HOLE, SCALE, WARMUP, FIRST = 4, 12, 1 / 9, 0.1, 0.2
LOOKAHEAD_EVERY, LOOKAHEAD = 5, 0.95**5
PROXY_LEARNS_EVERY = 4


@dataclass(frozen=True)
class Size:
    """How large a run is; the source's own by default."""

    widths: tuple[int, ...] = (128, 384, 512)
    proxy_widths: tuple[int, ...] = (32, 64, 64)
    epochs: int = 45
    batch: int = 1024


class Group(nn.Module):
    """Convolve, halve, norm; convolve, norm; where `deep`, once more with a way around."""

    def __init__(self, inputs: int, outputs: int, *, deep: bool) -> None:
        super().__init__()
        depth = 3 if deep else 2
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(outputs if at else inputs, outputs, 3, padding=1, bias=False) for at in range(depth)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(outputs, eps=1e-12) for _ in range(depth)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H // 2, W // 2)."""
        first = functional.gelu(self.norms[0](functional.max_pool2d(self.convolutions[0](x), 2)))
        second = functional.gelu(self.norms[1](self.convolutions[1](first)))
        if len(self.norms) == 2:
            return second
        return functional.gelu(self.norms[2](self.convolutions[2](second)) + first)


class Net(nn.Module):
    """The source's network, deep, or its small forerunner."""

    def __init__(self, widths: tuple[int, ...], device: torch.device, *, deep: bool) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2)
        pairs = zip((24, *widths), widths, strict=False)
        self.groups = nn.Sequential(*(Group(*pair, deep=deep) for pair in pairs))
        self.head = nn.Linear(widths[-1], 10, bias=False)
        self.whitening.weight.requires_grad_(False)
        assert self.whitening.bias is not None
        self.whitening.bias.requires_grad_(deep)
        place(self, device)

    def start(self, images: torch.Tensor) -> None:
        """Draw all weights; take the first layer from images (N, 3, 32, 32)."""
        draw(self)
        assert self.whitening.bias is not None
        nn.init.zeros_(self.whitening.bias)
        self.whitening.weight.data.copy_(whitening_kernels(images))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, 32, 32) to logits (B, 10)."""
        x = self.groups(functional.gelu(self.whitening(x)))
        logits: torch.Tensor = self.head(functional.max_pool2d(x, 3).flatten(1)) * SCALE
        return logits


def with_hole(images: torch.Tensor, seeded: torch.Generator) -> torch.Tensor:
    """Blank a square of each picture, wholly inside it."""
    side, device = images.shape[-1], images.device
    corners = torch.randint(0, side - HOLE + 1, (2, len(images), 1), device=device, generator=seeded)
    places = torch.arange(side, device=device)
    rows, columns = ((places >= corner) & (places < corner + HOLE) for corner in corners)
    return images.masked_fill((rows[:, :, None] & columns[:, None])[:, None], 0)


def batches(
    images: torch.Tensor, labels: torch.Tensor, size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches without end, each full: pictures moved, with a hole, mirrored every other epoch."""
    seeded = torch.Generator(images.device).manual_seed(seed)
    mirrored = torch.rand(len(images), device=images.device, generator=seeded) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    padded = functional.pad(images, (REACH,) * 4, "reflect")
    left, left_labels, epoch = images[:0], labels[:0], 0
    while True:
        epoch += 1
        views = moved(padded, REACH, seeded)
        views = with_hole(views.flip(3) if epoch % 2 else views, seeded)
        order = torch.randperm(len(views), device=views.device, generator=seeded)
        left, left_labels = torch.cat([left, views[order]]), torch.cat([left_labels, labels[order]])
        whole = len(left) // size * size
        yield from zip(torch.split(left[:whole], size), torch.split(left_labels[:whole], size), strict=True)
        left, left_labels = left[whole:], left_labels[whole:]


def optimiser(net: nn.Module, batch: int) -> tuple[torch.optim.Optimizer, list[float]]:
    """Return SGD and the peak rate of each of its groups."""
    share = 1024 * (1 + 1 / (1 - MOMENTUM))
    rate, decay = RATE / share, DECAY * batch / share
    named = [(name, value) for name, value in net.named_parameters() if value.requires_grad]
    norms = [value for name, value in named if "norms" in name]
    others = [value for name, value in named if "norms" not in name]
    peaks = [rate * BIAS_FACTOR, rate]
    groups = [
        {"params": members, "lr": peak, "weight_decay": decay / peak}
        for members, peak in zip((norms, others), peaks, strict=True)
    ]
    return torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True), peaks


def share_of_peak(step: int, steps: int) -> float:
    """Return the rate at `step`: up in a straight line from a fifth, then down to 0."""
    rising = int(steps * WARMUP)
    if step < rising:
        return FIRST + (1 - FIRST) * step / rising
    return (steps - step) / (steps - rising)


def learn(
    net: nn.Module, optimizer: torch.optim.Optimizer, peaks: list[float], rate: float, loss: torch.Tensor
) -> None:
    """Take one step."""
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak * rate
    net.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def losses_of(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of each picture (B,)."""
    return functional.cross_entropy(net(images), labels, label_smoothing=SMOOTHING, reduction="none")


def hardest(proxy: Net, train: Pictures, images: torch.Tensor, size: Size, seed: int) -> list[torch.Tensor]:
    """Train the small network; return the positions (B / 2,) of the hardest half of every batch."""
    proxy.start(images)
    proxy.train()
    optimizer, peaks = optimiser(proxy, size.batch)
    steps = steps_of(train, size)
    found: list[torch.Tensor] = []
    for step, (views, labels) in zip(
        range(steps), batches(images, train.labels, size.batch, seed), strict=False
    ):
        learns = step % PROXY_LEARNS_EVERY == 0
        with torch.set_grad_enabled(learns):
            losses = losses_of(proxy, views, labels)
        found.append(losses.detach().argsort()[-(size.batch // 2) :])
        if learns:
            learn(proxy, optimizer, peaks, share_of_peak(step, steps), losses[found[-1]].sum())
    return found


def steps_of(train: Pictures, size: Size) -> int:
    """Return how many steps a run takes."""
    return math.ceil(len(train.labels) // size.batch * size.epochs)


@torch.no_grad()
def look_ahead(net: nn.Module, slow: dict[str, torch.Tensor], keep: float) -> None:
    """Move the slow weights towards the net's, and set the net back to them."""
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            slow[name].lerp_(value, 1 - keep)
            value.copy_(slow[name])


def run(net: Net, proxy: Net, train: Pictures, test: Pictures, seed: int, size: Size) -> tuple[float, float]:
    """Train from nothing; return the accuracy, and the seconds of preparing, training and judging."""
    device = train.pixels.device
    torch.manual_seed(seed)
    started = clock(device)
    images = train.ready()
    chosen = hardest(proxy, train, images, size, seed)
    net.start(images)
    net.train()
    optimizer, peaks = optimiser(net, size.batch)
    slow = copy.deepcopy(net.state_dict())
    steps = len(chosen)
    for step, (views, labels) in zip(
        range(steps), batches(images, train.labels, size.batch, seed), strict=False
    ):
        losses = losses_of(net, views[chosen[step]], labels[chosen[step]])
        learn(net, optimizer, peaks, share_of_peak(step, steps), losses.sum())
        if (step + 1) % LOOKAHEAD_EVERY == 0:
            look_ahead(net, slow, LOOKAHEAD * ((step + 1) / steps) ** 3)
    look_ahead(net, slow, 1.0)
    return accuracy(net, test), clock(device) - started
