"""The method to be measured against, written anew: 94 % on CIFAR-10 in 2.59 s on an A100.

Facts and figures are those of Jordan's airbench94_muon (KellerJordan/cifar10-airbench, 2024) and of
arXiv:2404.00498; the code is this project's. Everything is as fast as its author made it: pictures
normalised, mirrored and padded once, half precision, mirror images that alternate between epochs, kernels
brought back to their size before each orthogonal step. It shares nothing with stages/lib, or it would be no
yardstick.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

WIDTHS, EPOCHS, BATCH = (64, 256, 256), 8, 2000
BIAS_RATE, HEAD_RATE, KERNEL_RATE = 0.053, 0.67, 0.24
DECAY, MOMENTUM, KERNEL_MOMENTUM = 2e-6, 0.85, 0.6
SMOOTHING, REACH, WHITENED, WHITENING_EPOCHS = 0.2, 2, 5000, 3
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NEWTON_SCHULZ, ROUNDS = (3.4445, -4.7750, 2.0315), 3
STATISTICS_RATE = 0.4


@dataclass(frozen=True)
class Pictures:
    """pixels (N, 3, 32, 32) uint8 and labels (N,) int64, on the device."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def ready(self) -> torch.Tensor:
        """Return them normalised, in the device's short format, channels last."""
        brief = torch.half if self.pixels.is_cuda else torch.float32
        images = self.pixels.to(brief) / 255
        shape = (1, 3, 1, 1)
        images = (images - images.new_tensor(MEAN).view(shape)) / images.new_tensor(STD).view(shape)
        return images.contiguous(memory_format=torch.channels_last)


def whitening_kernels(images: torch.Tensor) -> torch.Tensor:
    """Return kernels (24, 3, 2, 2): the principal directions of patches, at unit deviation, and negated."""
    patches = functional.unfold(images[:WHITENED].float(), 2).transpose(1, 2).reshape(-1, 12)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernels = (directions.T / (variances[:, None] + 5e-4).sqrt()).view(12, 3, 2, 2)
    return torch.cat([kernels, -kernels])


def draw(net: nn.Module) -> None:
    """Draw all weights; a 3 x 3 kernel passes its first inputs on as they are."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            nn.init.dirac_(module.weight.data[: module.in_channels])


class Pair(nn.Module):
    """Convolve, halve, norm; convolve, norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm1, self.norm2 = (
            nn.BatchNorm2d(outputs, eps=1e-12, momentum=STATISTICS_RATE) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H // 2, W // 2)."""
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


class Net(nn.Module):
    """The source's network; `start` draws it anew, so that one compiled network serves all runs."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.whitening = nn.Conv2d(3, 24, 2)
        self.pairs = nn.Sequential(
            *(Pair(before, after) for before, after in zip((24, *widths), widths, strict=False))
        )
        self.head = nn.Linear(widths[-1], 10, bias=False)

    def start(self, images: torch.Tensor) -> None:
        """Draw all weights; take the first layer from images (N, 3, 32, 32)."""
        draw(self)
        self.head.weight.data.div_(self.head.weight.data.std())
        self.whitening.weight.data.copy_(whitening_kernels(images))

    def forward(self, x: torch.Tensor, whitening_learns: bool = True) -> torch.Tensor:
        """Map (B, 3, 32, 32) to logits (B, 10)."""
        bias = self.whitening.bias
        assert bias is not None
        bias = bias if whitening_learns else bias.detach()
        x = self.pairs(functional.gelu(functional.conv2d(x, self.whitening.weight, bias)))
        x = functional.max_pool2d(x, 3).flatten(1)
        logits: torch.Tensor = self.head(x) / x.shape[1]
        return logits


def new_net(device: torch.device, widths: tuple[int, ...] = WIDTHS) -> Net:
    """Build the network in the device's short format, its norms in float32."""
    net = Net(widths)
    net.whitening.weight.requires_grad_(False)
    place(net, device)
    return net


def place(net: nn.Module, device: torch.device) -> None:
    """Bring a network to the device: layers in its short format, norms in float32 and without a scale."""
    net.to(device).to(memory_format=torch.channels_last)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.requires_grad_(False)
        elif device.type == "cuda" and not list(module.children()):
            module.half()


def orthogonal(gradient: torch.Tensor) -> torch.Tensor:
    """Return (m, n) with its singular values moved to about 1."""
    a, b, c = NEWTON_SCHULZ
    x = gradient.bfloat16() if gradient.is_cuda else gradient.float()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    turned: torch.Tensor = x.T if tall else x
    return turned


@torch.no_grad()
def step_kernels(
    kernels: list[nn.Parameter], buffers: list[torch.Tensor], rate: float, turn: "Orthogonal"
) -> None:
    """Bring each kernel back to its size, then move it along its orthogonal direction."""
    for kernel, buffer in zip(kernels, buffers, strict=True):
        assert kernel.grad is not None
        buffer.mul_(KERNEL_MOMENTUM).add_(kernel.grad)
        direction = kernel.grad.add(buffer, alpha=KERNEL_MOMENTUM)
        kernel.mul_(len(kernel) ** 0.5 / kernel.norm())
        kernel.add_(turn(direction.reshape(len(kernel), -1)).view_as(kernel).to(kernel.dtype), alpha=-rate)


Turn = Callable[[torch.Tensor], torch.Tensor]


class Orthogonal:
    """`orthogonal`, compiled or not."""

    def __init__(self, *, compiled: bool) -> None:
        self.run: Turn = torch.compile(orthogonal) if compiled else orthogonal

    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the direction of the step."""
        return self.run(gradient)


def moved(padded: torch.Tensor, reach: int = REACH, seeded: torch.Generator | None = None) -> torch.Tensor:
    """Return pictures (N, 3, 32, 32) cut at random from padded ones (N, 3, 32 + 2 reach, the same)."""
    shape = 2, len(padded)
    shifts = torch.randint(0, 2 * reach + 1, shape, device=padded.device, generator=seeded)
    rows = torch.empty_like(padded[:, :, :32])
    for down in range(2 * reach + 1):
        here = shifts[0] == down
        rows[here] = padded[here, :, down : down + 32]
    images = torch.empty_like(padded[:, :, :32, :32])
    for right in range(2 * reach + 1):
        here = shifts[1] == right
        images[here] = rows[here, :, :, right : right + 32]
    return images


def seen_six_ways(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return logits: both mirror images, half of it in place, half moved by a pixel along the diagonal."""

    def both(some: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = net(some) + net(some.flip(3))
        return logits / 2

    padded = functional.pad(images, (1,) * 4, "reflect")
    corners = both(padded[:, :, :32, :32]) + both(padded[:, :, 2:, 2:])
    return both(images) / 2 + corners / 4


def accuracy(net: nn.Module, test: Pictures) -> float:
    """Return the accuracy on all test pictures, six views each."""
    net.eval()
    with torch.no_grad():
        logits = torch.cat([seen_six_ways(net, images) for images in torch.split(test.ready(), BATCH)])
    return float((logits.argmax(1) == test.labels).float().mean())


def clock(device: torch.device) -> float:
    """Return wall seconds, with all work on the device done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def run(
    net: Net,
    train: Pictures,
    test: Pictures,
    turn: Orthogonal,
    seed: int,
    epochs: int = EPOCHS,
    batch: int = BATCH,
) -> tuple[float, float]:
    """Train from nothing; return the accuracy, and the seconds of preparing, training and judging."""
    device = train.pixels.device
    torch.manual_seed(seed)
    started = clock(device)
    images = train.ready()
    net.start(images)
    mirrored = torch.rand(len(images), device=device) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    padded = functional.pad(images, (REACH,) * 4, "reflect")
    kernels = [value for value in net.parameters() if value.ndim == 4 and value.requires_grad]
    buffers = [torch.zeros_like(value) for value in kernels]
    norms = [value for name, value in net.named_parameters() if "norm" in name and value.requires_grad]
    assert net.whitening.bias is not None
    groups = [
        {"params": params, "lr": rate, "weight_decay": DECAY * batch / rate}
        for params, rate in (
            ([net.whitening.bias], BIAS_RATE),
            (norms, BIAS_RATE),
            ([net.head.weight], HEAD_RATE),
        )
    ]
    others = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True, fused=device.type == "cuda")
    steps, done = epochs * (len(images) // batch), 0
    net.train()
    for epoch in range(epochs):
        views = moved(padded)
        views = views.flip(3) if epoch % 2 else views
        order = torch.randperm(len(images), device=device)
        for index in torch.split(order[: len(order) // batch * batch], batch):
            left = 1 - done / steps
            early = max(0.0, 1 - done * epochs / (steps * WHITENING_EPOCHS))
            for group, rate in zip(others.param_groups, (BIAS_RATE, BIAS_RATE, HEAD_RATE), strict=True):
                group["lr"] = rate * (early if group is others.param_groups[0] else left)
            logits = net(views[index], epoch < WHITENING_EPOCHS)
            loss = functional.cross_entropy(
                logits, train.labels[index], label_smoothing=SMOOTHING, reduction="sum"
            )
            net.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            others.step()
            step_kernels(kernels, buffers, KERNEL_RATE * left, turn)
            done += 1
    return accuracy(net, test), clock(device) - started
