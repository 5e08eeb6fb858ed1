"""What does an image cost in the loop, against the loops that people write?

    python -m bench.loop_speed [--images 1024] [--takes 3] [--widths 24,48,96] [--loops ours,bare,jpeg]

CPU seconds (user + system, workers included) per image of 32 x 32 x 3, forward, backward and step, one
thread, the same network, batches of 64, no augmentation:

  ours   stages/lib/loop.py: uint8 pixels in memory, normalised batch by batch, loss kept, weights averaged
  bare   plain PyTorch: float32 pixels, normalised beforehand, in memory, contiguous; AdamW
  jpeg   plain PyTorch over a DataLoader with one worker that decodes JPEG files from memory

and, where --loops names it, `compiled`: ours with train.compile default, compiling not counted.

The files are CIFAR-10's training images as JPEG where the shared data are (ASSAY_SHARED_DATA, or
../shared/data), else made-up ones. The widths are those of params.yaml.
Each take is a process of its own (a loop must not gain from another's settings), in turn; the best of the
takes counts, because another program on the machine can only add. Last, what an epoch costs in which nothing
is learned: checkpoint, val, curves and journal of this network, as a share of a 10 s epoch.
"""

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.nn import functional

from stages.lib.checkpoint import CheckpointStore
from stages.lib.compiling import Compile
from stages.lib.counters import generator
from stages.lib.history import report_to
from stages.lib.journal import Journal
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import Normalisation
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Classification, Held

SIDE, CLASSES, BATCH = 32, 10, 64
FACTS = Normalisation((0.5,) * 3, (0.25,) * 3)
CPU = torch.device("cpu")
EPOCH_SECONDS, NO_OP_EPOCHS = 10.0, 20


def pixels(n: int) -> torch.Tensor:
    """Return smooth random pictures (n, H, W, 3) uint8, about as hard to decode as photographs."""
    coarse = torch.rand((n, 3, SIDE // 4, SIDE // 4), generator=generator(CPU, "pictures"))
    fine = functional.interpolate(coarse, size=SIDE, mode="bilinear", align_corners=False)
    return (fine * 255).byte().permute(0, 2, 3, 1).contiguous()


def targets(n: int) -> torch.Tensor:
    """Return labels (n,) int64."""
    return torch.randint(0, CLASSES, (n,), generator=generator(CPU, "labels"))


def network(widths: tuple[int, ...]) -> Classifier:
    """Return the network that all loops train."""
    shape = Architecture(3, SIDE, widths, CLASSES)
    return new_classifier(shape, torch.zeros(CLASSES), generator(CPU, "network"))


def ours(n: int, widths: tuple[int, ...], how: Compile = "eager") -> Callable[[], object]:
    """Return an epoch of this project's loop."""
    recipe = Recipe((Phase("all", 1, 1.0),), BATCH, 1e-3, 0.05, 0.2, 0.99, None, seed=0, compiled=how)
    data = TrainingSet(pixels(n).permute(0, 3, 1, 2), tuple(map(str, range(n))), FACTS)
    task = Classification(targets(n), torch.ones(CLASSES), 0.0, None)
    return lambda: fit(LoopState.start(network(widths), recipe), task, data, recipe)


def plain_step(net: Classifier, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> None:
    """Take the step that every tutorial takes."""
    loss = functional.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def bare(n: int, widths: tuple[int, ...]) -> Callable[[], object]:
    """Return an epoch over a tensor in memory."""
    images = ((pixels(n).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25).contiguous()
    labels = targets(n)

    def epoch() -> None:
        net = network(widths)
        optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.05)
        for index in torch.split(torch.randperm(n), BATCH):
            plain_step(net, optimizer, images[index], labels[index])

    return epoch


def jpeg_files(n: int) -> list[bytes]:
    """Return encoded pictures of 32 x 32."""
    path = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10" / "train.parquet"
    if path.exists():
        rows = pq.read_table(path, columns=["image"]).slice(0, n)["image"].to_pylist()
        return [row["bytes"] for row in rows]
    buffers = [io.BytesIO() for _ in range(n)]
    for buffer, picture in zip(buffers, pixels(n).numpy(), strict=True):
        Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return [buffer.getvalue() for buffer in buffers]


class JpegFiles(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """JPEG files in memory, decoded one by one."""

    def __init__(self, n: int) -> None:
        self.labels, self.files = targets(n).tolist(), jpeg_files(n)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.files)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        """Decode and normalise one."""
        picture = np.array(Image.open(io.BytesIO(self.files[at])).convert("RGB"))
        image = torch.from_numpy(picture).permute(2, 0, 1).contiguous().float() / 255
        return (image - 0.5) / 0.25, self.labels[at]


def jpeg(n: int, widths: tuple[int, ...]) -> Callable[[], object]:
    """Return an epoch over a DataLoader."""
    files = JpegFiles(n)

    def epoch() -> None:
        net = network(widths)
        optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.05)
        for x, y in torch.utils.data.DataLoader(files, BATCH, shuffle=True, num_workers=1):
            plain_step(net, optimizer, x, y)

    return epoch


LOOPS: dict[str, Callable[[int, tuple[int, ...]], Callable[[], object]]] = {
    "ours": ours,
    "bare": bare,
    "jpeg": jpeg,
    "compiled": partial(ours, how="default"),
}


def cpu_seconds() -> float:
    """Return what this process and its ended children have used."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def take(name: str, n: int, widths: tuple[int, ...]) -> float:
    """Be the process of one take: one epoch to warm up, one that counts."""
    torch.set_num_threads(1)
    epoch = LOOPS[name](n, widths)
    epoch()
    before = cpu_seconds()
    epoch()
    return (cpu_seconds() - before) / n


def no_op_epoch(widths: tuple[int, ...]) -> float:
    """Return the wall seconds of an epoch of one image: all that is done beside steps."""
    torch.set_num_threads(1)
    recipe = Recipe((Phase("all", NO_OP_EPOCHS, 1.0),), 1, 1e-3, 0.05, 0.2, 0.99, None, seed=0)
    images = pixels(1).permute(0, 3, 1, 2)
    task = Classification(targets(1), torch.ones(CLASSES), 0.0, Held(images, targets(1), FACTS))
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder) / "k", "k")
        report = report_to(Journal.silent())
        started = time.perf_counter()
        fit(
            LoopState.start(network(widths), recipe),
            task,
            TrainingSet(images, ("a",), FACTS),
            recipe,
            store=store,
            report=report,
        )
        return (time.perf_counter() - started) / NO_OP_EPOCHS


def asked_of(name: str, asked: argparse.Namespace) -> float:
    """Start a process for one figure."""
    command = [sys.executable, "-m", "bench.loop_speed", "--only", name]
    command += ["--images", str(asked.images), "--widths", asked.widths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def main() -> None:
    """Print a row a loop, and the overhead of an epoch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--takes", type=int, default=3)
    parser.add_argument("--widths", default="24,48,96")
    parser.add_argument("--loops", default="ours,bare,jpeg", help=f"ours and any of {', '.join(LOOPS)}")
    parser.add_argument("--only", choices=[*LOOPS, "no-op"], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    widths = tuple(int(width) for width in asked.widths.split(","))
    if asked.only:
        print(
            json.dumps(
                no_op_epoch(widths) if asked.only == "no-op" else take(asked.only, asked.images, widths)
            )
        )
        return
    takes: dict[str, list[float]] = {name: [] for name in asked.loops.split(",")}
    for _ in range(asked.takes):
        for name, found in takes.items():
            found.append(asked_of(name, asked))
    best = {name: min(found) for name, found in takes.items()}
    for name, found in takes.items():
        shown = " ".join(f"{1000 * value:.3f}" for value in found)
        ratio = best["ours"] / best[name]
        print(
            f"{name:8s} {1000 * best[name]:.3f} CPU ms an image (takes: {shown}); ours / {name} {ratio:.2f}"
        )
    idle = asked_of("no-op", asked)
    share = idle / EPOCH_SECONDS
    print(f"an epoch without learning: {1000 * idle:.0f} ms, {share:.1%} of {EPOCH_SECONDS:.0f} s")


if __name__ == "__main__":
    main()
