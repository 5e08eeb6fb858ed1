"""What this project's loop does on a GPU: every row that needs one, in one command.

    python -m bench.gpu [--runs 10] [--rows 94,96,speed,resume,memory,streaming,compile] [--small]

Needs a GPU, torch, NumPy, Pillow, PyArrow, safetensors and this checkout; no network, no DVC, no MLflow.
Reads CIFAR-10's JPEGs of the shared data (ASSAY_SHARED_DATA, or ../shared/data). Rows:

  94         time to 94 % (the mean of --runs runs, six views, as KellerJordan/cifar10-airbench counts),
             beside that method (bench/airbench_method.py) in the same call, compiled and not. How many epochs
             each gets is chosen on training images held out. Seconds are wall time of preparing, training and
             judging; compiling, which is done once for all runs, and a first run are left out
  96         the same for 96 %: a wider, longer run, beside bench/airbench96_method.py, a third of the runs
  speed      images a second of the loop against a bare PyTorch loop, the same network, in two formats, with
             and without cudnn's search for the fastest algorithm
  resume     a run in two halves against one in one piece, deterministic: equal bytes, or by how much
  memory     a batch that cannot fit: in how many parts the loop took it
  streaming  images brought batch by batch from the host: equal bytes, and what it costs
  compile    images a second in each mode of train.compile, compiling left out, and by how much the weights
             after one epoch differ from those as written, in one piece and in two

--small runs every row on a CPU with few images, so that the bench itself can be tested where there is no GPU.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bench.cifar10 import CLASSES, Plan, untrained
from bench.gpu_accuracy import PLAN_94, SMALL_PLAN, rows_to_94, rows_to_96
from bench.gpu_data import Data, load
from stages.lib.checkpoint import CheckpointStore
from stages.lib.compiling import Compile, compile_network
from stages.lib.feeding import HostImages
from stages.lib.loop import Report, TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.nets import Classifier
from stages.lib.optimizers import UpdateRule
from stages.lib.tasks import Classification

SPEED_EPOCHS = 2
MODES: tuple[Compile, ...] = get_args(Compile)


def bare_epochs(data: Data, plan: Plan) -> Callable[[], None]:
    """Return epochs of plain PyTorch: pictures normalised beforehand, AdamW, autocast."""
    images = data.train.pixels.float() / 255
    images = ((images - images.mean((0, 2, 3), keepdim=True)) / 0.25).contiguous()
    net = network_of(data, plan)
    optimizer = torch.optim.AdamW(net.parameters(), plan.learning_rate, weight_decay=plan.weight_decay)
    brief = plan.precision != "float32"

    def epochs() -> None:
        for _ in range(SPEED_EPOCHS):
            for index in torch.split(torch.randperm(len(images), device=data.device), plan.batch_size):
                with torch.autocast(data.device.type, torch.bfloat16, enabled=brief):
                    loss = functional.cross_entropy(net(images[index]), data.train.labels[index])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    return epochs


def network_of(data: Data, plan: Plan) -> Classifier:
    """Return a new network on the device."""
    return untrained(plan, data.train.pixels, data.normalisation, seed=0)


def run_of(
    data: Data,
    plan: Plan,
    store: CheckpointStore | None = None,
    host: HostImages | None = None,
    report: Report | None = None,
    parts: int = 1,
    network: Classifier | None = None,
) -> LoopState:
    """Train a new network, or the one given, by AdamW, as `bare_epochs` does, through the loop."""
    recipe = replace(plan.recipe(seed=0), rule=UpdateRule("adamw"), augmentation=None, parts=parts)
    state = LoopState.start(network or network_of(data, plan), recipe)
    task = Classification(data.train.labels, torch.ones(CLASSES, device=data.device), 0.0, None)
    images = data.train.pixels if host is None else data.train.pixels[:0]
    ids = tuple(map(str, range(len(data.train.labels))))
    training = TrainingSet(images, ids, data.normalisation, host=host)
    return fit(state, task, training, recipe, store=store, report=report, label="bench")


def seconds_of(data: Data, work: Callable[[], object]) -> float:
    """Return the seconds of the second of two goes."""
    work()
    started = data.clock()
    work()
    return data.clock() - started


def speed_rows(data: Data, plan: Plan) -> None:
    """Print images a second of both loops."""
    n = SPEED_EPOCHS * len(data.train.labels)
    for precision in ("float32", "bfloat16"):
        for search in (False, True):
            torch.backends.cudnn.benchmark = search
            how = replace(plan, epochs=SPEED_EPOCHS, precision=precision)
            bare = seconds_of(data, bare_epochs(data, how))
            ours = seconds_of(data, partial(run_of, data, how))
            print(
                f"speed, {precision}, cudnn search {search}: this loop {n / ours:.0f} images/s, "
                f"bare {n / bare:.0f}, seconds {ours / bare:.2f} of the bare loop's",
                flush=True,
            )
    torch.backends.cudnn.benchmark = False


def difference(one: nn.Module, other: nn.Module) -> float:
    """Return the largest difference between two networks' numbers."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def resume_row(data: Data, plan: Plan) -> None:
    """Print whether a run in two halves ends as one in one piece does."""
    how = replace(plan, epochs=2)
    torch.backends.cudnn.deterministic = True
    with tempfile.TemporaryDirectory() as folder:
        whole = run_of(data, how, CheckpointStore(Path(folder) / "whole", "key"))
        again = run_of(data, how, CheckpointStore(Path(folder) / "again", "key"))
        first = Path(folder) / "halves"
        with suppress(_StopError):
            run_of(data, how, CheckpointStore(first, "key"), report=stop)
        halves = run_of(data, how, CheckpointStore(first, "key"))
    torch.backends.cudnn.deterministic = False
    print(
        f"resume: the same run twice differs by {difference(whole.network, again.network):.3g}, "
        f"one in two halves by {difference(whole.network, halves.network):.3g} (0 = equal bytes)",
        flush=True,
    )


class _StopError(Exception):
    """The first epoch is over."""


def stop(row: object) -> None:
    """End a run after its first checkpoint, as a kill does."""
    raise _StopError(row)


def memory_row(data: Data, small: bool) -> None:
    """Print in how many parts a batch of everything, in a network too wide for it, was taken."""
    if small:
        print("memory: a CPU has no such limit; left out", flush=True)
        return
    n = len(data.train.labels)
    how = replace(PLAN_94, widths=(512, 512, 512), epochs=1, batch_size=n, precision="float32")
    state = run_of(data, how)
    print(f"memory: a batch of {n} images was taken in {state.parts} parts", flush=True)


def streaming_row(data: Data, plan: Plan) -> None:
    """Print what it costs to bring each batch from the host."""
    host = HostImages(data.host, np.arange(len(data.host)), data.device)
    torch.backends.cudnn.deterministic = True
    resident, streamed = run_of(data, plan), run_of(data, plan, host=host)
    torch.backends.cudnn.deterministic = False
    least = seconds_of(data, lambda: run_of(data, plan))
    most = seconds_of(data, lambda: run_of(data, plan, host=host))
    print(
        f"streaming: differs by {difference(resident.network, streamed.network):.3g}, "
        f"{most / least:.2f} of the time",
        flush=True,
    )


def compile_rows(data: Data, plan: Plan, modes: tuple[Compile, ...]) -> None:
    """Print what each mode of train.compile costs, and that it computes the same."""
    n = SPEED_EPOCHS * len(data.train.labels)
    for mode in modes:
        how, network = replace(plan, epochs=SPEED_EPOCHS), network_of(data, plan)
        compile_network(network, data.device, mode)
        seconds = seconds_of(data, partial(run_of, data, how, network=network))
        short = replace(plan, epochs=1, precision="float32")
        off = [
            difference(
                run_of(data, short, parts=parts).network,
                run_of(data, replace(short, compiled=mode), parts=parts).network,
            )
            for parts in (1, 2)
        ]
        found = f"{n / seconds:.0f} images/s, differs by {off[0]:.3g}, in two parts {off[1]:.3g}"
        print(f"compile, {mode}: {found}", flush=True)


def main() -> None:
    """Print the machine, then each row as it is found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--rows", default="94,96,speed,resume,memory,streaming,compile")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    if not asked.small and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU here; --small tests the bench itself on a CPU")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = torch.device("cpu" if asked.small else "cuda")
    name = "CPU" if asked.small else torch.cuda.get_device_name(device)
    print(f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}, {time.strftime('%F')}", flush=True)
    data = load(device, asked.small)
    plan = SMALL_PLAN if asked.small else replace(PLAN_94, epochs=2)
    rows: dict[str, Callable[[], None]] = {
        "94": lambda: rows_to_94(data, asked.runs, asked.small),
        "96": lambda: rows_to_96(data, asked.runs, asked.small),
        "speed": lambda: speed_rows(data, plan),
        "resume": lambda: resume_row(data, replace(plan, precision="float32")),
        "memory": lambda: memory_row(data, asked.small),
        "streaming": lambda: streaming_row(data, replace(plan, precision="float32")),
        "compile": lambda: compile_rows(data, plan, MODES[:2] if asked.small else MODES),
    }
    for row in asked.rows.split(","):
        rows[row]()


if __name__ == "__main__":
    main()
