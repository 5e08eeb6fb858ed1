"""Time to 94 % and to 96 % of CIFAR-10's test images: this loop beside the methods that set the bar."""

from dataclasses import replace
from statistics import mean, median, stdev

from bench import airbench96_method as their96
from bench import airbench_method as theirs
from bench.cifar10 import Plan, six_view_accuracy, trained
from bench.gpu_data import Data

PLAN_94 = Plan((64, 256, 256), 8, 2000, 0.01, 0.24, 0.6, 0.2, "bfloat16", weight_decay=0.01, warmup=0.02)
PLAN_96 = replace(PLAN_94, widths=(128, 384, 512), epochs=24, batch_size=1000, shift=4, cutout=0.375)

Found = tuple[float, float]
"""Accuracy and seconds of one run."""


def their_runs(data: Data, plan: Plan, n: int, *, compiled: bool) -> list[Found]:
    """Run the method to be measured against; the first run, which compiles, is left out."""
    net = theirs.new_net(data.device, plan.widths)
    if compiled:
        net.compile(mode="max-autotune")
    turn = theirs.Orthogonal(compiled=compiled)
    how = plan.epochs, plan.batch_size
    return [theirs.run(net, data.train, data.test, turn, seed, *how) for seed in range(n + 1)][1:]


def their_runs_to_96(data: Data, size: their96.Size, n: int, *, compiled: bool) -> list[Found]:
    """Run the longer method to be measured against."""
    net = their96.Net(size.widths, data.device, deep=True)
    proxy = their96.Net(size.proxy_widths, data.device, deep=False)
    if compiled:
        net.compile(mode="max-autotune")
        proxy.compile(mode="max-autotune")
    return [their96.run(net, proxy, data.train, data.test, seed, size) for seed in range(n + 1)][1:]


def our_runs(data: Data, plan: Plan, n: int, *, compiled: bool) -> list[Found]:
    """Run this project's loop likewise."""
    how = replace(plan, compiled="max-autotune") if compiled else plan

    def once(seed: int) -> Found:
        started = data.clock()
        net = trained(how, data.train.pixels, data.train.labels, data.normalisation, seed)
        accuracy = six_view_accuracy(net, data.test.pixels, data.test.labels, data.normalisation)
        return accuracy, data.clock() - started

    return [once(seed) for seed in range(n + 1)][1:]


def told(name: str, runs: list[Found]) -> float:
    """Print accuracy and seconds of several runs; return the median seconds."""
    accuracies, seconds = [run[0] for run in runs], [run[1] for run in runs]
    spread = f" ± {stdev(accuracies):.4f}" if len(runs) > 1 else ""
    print(
        f"{name}: accuracy {mean(accuracies):.4f}{spread}, {median(seconds):.2f} s "
        f"({min(seconds):.2f} to {max(seconds):.2f}), n = {len(runs)}",
        flush=True,
    )
    return median(seconds)


def accuracy_rows(data: Data, runs: int, small: bool) -> None:
    """Print the time to 94 % and to 96 %."""
    short = replace(PLAN_94, widths=(16, 16, 16), epochs=1, batch_size=200, precision="float32")
    plan, wide = (short, short) if small else (PLAN_94, PLAN_96)
    for compiled in (False,) if small else (False, True):
        name = "compiled" if compiled else "as written"
        limit = told(
            f"94 %, airbench94_muon's method, {name}",
            their_runs(data, plan, runs, compiled=compiled),
        )
        ours = told(f"94 %, this loop, {name}", our_runs(data, plan, runs, compiled=compiled))
        print(f"94 %, ratio, {name}: {ours / limit:.2f}", flush=True)
    size = their96.Size((16, 16, 16), (8, 8, 8), 1, 200) if small else their96.Size()
    few, name = max(1, runs // 3), "as written" if small else "compiled"
    limit = told(
        f"96 %, airbench96_faster's method, {name}", their_runs_to_96(data, size, few, compiled=not small)
    )
    ours = told(f"96 %, this loop, {name}", our_runs(data, wide, few, compiled=not small))
    print(f"96 %, ratio, {name}: {ours / limit:.2f}", flush=True)
