"""Time to 94 % and to 96 % of CIFAR-10's test images: this loop beside the methods that set the bar.

How many epochs a method needs is chosen for each alone, on training images held out: the sources' own counts
are for the original pictures, not for these JPEGs of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import mean, median, stdev

from bench import airbench96_method as their96
from bench import airbench_method as theirs
from bench.cifar10 import Plan, six_view_accuracy, trained, untrained
from bench.gpu_data import Data, held_out
from stages.lib.compiling import compile_network

PLAN_94 = Plan((64, 256, 256), 8, 2000, 0.01, 0.14, 0.6, 0.2, "bfloat16", weight_decay=0.01, warmup=0.02)
PLAN_96 = replace(PLAN_94, widths=(128, 384, 512), epochs=24, batch_size=1000, shift=4, cutout=0.375)

SMALL_PLAN = replace(PLAN_94, widths=(16, 16, 16), epochs=1, batch_size=200)
"""For trying the bench itself on a CPU."""

Found = tuple[float, float]
"""Accuracy and seconds of one run."""

Once = Callable[[int], Found]
"""One run, by its seed."""


@dataclass(frozen=True)
class Goal:
    """An accuracy, the epochs to try for it, fewest first, and how many runs of each are judged on val."""

    accuracy: float
    ladder: tuple[int, ...]
    judged: int


GOAL_94 = Goal(0.94, (8, 10, 12, 16, 20, 24, 32), 3)
GOAL_96 = Goal(0.96, (24, 32, 45, 60), 1)
NO_GOAL = Goal(0.0, (1,), 1)


def fewest_epochs(goal: Goal, accuracies: Callable[[int], Sequence[float]]) -> tuple[int, float]:
    """Return the first of the ladder whose mean accuracy reaches the goal, else its last; and that mean."""
    for epochs in goal.ladder:
        found = mean(accuracies(epochs))
        if found >= goal.accuracy:
            break
    return epochs, found


def their_run(data: Data, plan: Plan, *, compiled: bool) -> Once:
    """Return a run of the method to be measured against."""
    net = theirs.new_net(data.device, plan.widths)
    if compiled:
        net.compile(mode="max-autotune")
    turn = theirs.Orthogonal(compiled=compiled)
    return lambda seed: theirs.run(net, data.train, data.test, turn, seed, plan.epochs, plan.batch_size)


def their_run_to_96(data: Data, size: their96.Size, *, compiled: bool) -> Once:
    """Return a run of the longer method to be measured against."""
    net = their96.Net(size.widths, data.device, deep=True)
    proxy = their96.Net(size.proxy_widths, data.device, deep=False)
    if compiled:
        net.compile(mode="max-autotune")
        proxy.compile(mode="max-autotune")
    return lambda seed: their96.run(net, proxy, data.train, data.test, seed, size)


def our_run(data: Data, plan: Plan, *, compiled: bool) -> Once:
    """Return a run of this project's loop."""
    train = data.train
    kept = untrained(plan, train.pixels, data.normalisation, seed=0) if compiled else None
    if kept is not None:  # once for all runs, as for the method it is measured against
        compile_network(kept, data.device, "max-autotune")

    def once(seed: int) -> Found:
        started = data.clock()
        net = trained(plan, train.pixels, train.labels, data.normalisation, seed, compiled=kept)
        accuracy = six_view_accuracy(net, data.test.pixels, data.test.labels, data.normalisation)
        return accuracy, data.clock() - started

    return once


def told(name: str, once: Once, n: int) -> float:
    """Print accuracy and seconds of n runs after a first, which compiles; return the median seconds."""
    runs = [once(seed) for seed in range(n + 1)][1:]
    accuracies, seconds = [run[0] for run in runs], [run[1] for run in runs]
    spread = f" ± {stdev(accuracies):.4f}" if len(runs) > 1 else ""
    print(
        f"{name}: accuracy {mean(accuracies):.4f}{spread}, {median(seconds):.2f} s "
        f"({min(seconds):.2f} to {max(seconds):.2f}), n = {len(runs)}",
        flush=True,
    )
    return median(seconds)


def chosen_epochs(name: str, goal: Goal, run_of: Callable[[int], Once]) -> int:
    """Print and return how many epochs a method gets; run_of says how it runs on the held-out images."""

    def accuracies(epochs: int) -> list[float]:
        once = run_of(epochs)
        found = [once(seed)[0] for seed in range(goal.judged)]
        print(f"{name}: {epochs} epochs, val accuracy {mean(found):.4f}, n = {len(found)}", flush=True)
        return found

    epochs, found = fewest_epochs(goal, accuracies)
    if found < goal.accuracy:
        print(f"{name}: no number of epochs that is tried comes to {goal.accuracy} on val", flush=True)
    return epochs


def rows_to_94(data: Data, runs: int, small: bool) -> None:
    """Print the time to 94 %, as written and compiled."""
    plan, goal, apart = (SMALL_PLAN if small else PLAN_94), (NO_GOAL if small else GOAL_94), held_out(data)
    runners = {"airbench94_muon's method": their_run, "this loop": our_run}

    def tried(run: Callable[..., Once], epochs: int) -> Once:
        return run(apart, replace(plan, epochs=epochs), compiled=False)

    plans = {
        name: replace(plan, epochs=chosen_epochs(f"94 %, {name}", goal, partial(tried, run)))
        for name, run in runners.items()
    }
    for compiled in (False,) if small else (False, True):
        how = "compiled" if compiled else "as written"
        limit, ours = (
            told(f"94 %, {name}, {how}", run(data, plans[name], compiled=compiled), runs)
            for name, run in runners.items()
        )
        print(f"94 %, ratio, {how}: {ours / limit:.2f}", flush=True)


def rows_to_96(data: Data, runs: int, small: bool) -> None:
    """Print the time to 96 %, compiled."""
    plan, goal, apart = (SMALL_PLAN if small else PLAN_96), (NO_GOAL if small else GOAL_96), held_out(data)
    size = their96.Size((16, 16, 16), (8, 8, 8), 1, 200) if small else their96.Size()
    compiled = not small

    def theirs_at(where: Data, epochs: int) -> Once:
        return their_run_to_96(where, replace(size, epochs=epochs), compiled=compiled)

    def ours_at(where: Data, epochs: int) -> Once:
        return our_run(where, replace(plan, epochs=epochs), compiled=compiled)

    found = []
    for name, run_at in (("airbench96_faster's method", theirs_at), ("this loop", ours_at)):
        epochs = chosen_epochs(f"96 %, {name}", goal, partial(run_at, apart))
        found.append(told(f"96 %, {name}", run_at(data, epochs), max(1, runs // 3)))
    print(f"96 %, ratio: {found[1] / found[0]:.2f}", flush=True)
