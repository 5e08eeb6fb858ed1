"""What does each stage of the default run cost, and how much of that is imports?

    python -m bench.chain_cost [--runs 1]

Runs the commands of dvc.lock one by one in a temporary clone, without DVC and tracking, and prints CPU
seconds (user + system, children included), the part that imports take (`-X importtime`, the same run), wall
seconds, peak memory and the heavy packages that were loaded. The mean over runs is printed.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.chain import Chain

HEAVY = (
    "torch",
    "sklearn",
    "cleanlab",
    "great_expectations",
    "mlflow",
    "faiss",
    "pandas",
    "scipy",
    "matplotlib",
)
IMPORT_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")


@dataclass(frozen=True)
class Cost:
    """One run of a stage: seconds, mebibytes, names."""

    cpu: float
    imports: float
    wall: float
    peak: float
    heavy: tuple[str, ...]


def measure(command: str, chain: Chain) -> Cost:
    """Run one stage's command in the clone."""
    arguments = [sys.executable, "-X", "importtime", *shlex.split(command)[1:]]
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            arguments, cwd=chain.root, env=chain.environment(), stdout=errors, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        told = errors.read()
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{told[-2000:]}")
    found = [(int(match[1]), match[2]) for match in IMPORT_LINE.finditer(told)]
    roots = {name.split(".")[0] for _, name in found}
    cpu = usage.ru_utime + usage.ru_stime
    wall = time.perf_counter() - started
    imports = sum(microseconds for microseconds, _ in found) / 1e6
    return Cost(cpu, imports, wall, usage.ru_maxrss / 1024, tuple(name for name in HEAVY if name in roots))


def main() -> None:
    """Print one row per stage and the sum."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    runs = parser.parse_args().runs
    costs: dict[str, list[Cost]] = {}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            chain = Chain.clone(Path(folder) / "clone")
            for name, entry in chain.lock().items():
                costs.setdefault(name, []).append(measure(entry["cmd"], chain))
    print(f"n = {runs}")
    print(f"{'stage':14} {'CPU s':>7} {'imports':>8} {'wall s':>7} {'peak MiB':>9}  heavy packages")
    for name, found in costs.items():
        cpu, imports, wall, peak = (
            sum(getattr(cost, field) for cost in found) / runs for field in ("cpu", "imports", "wall", "peak")
        )
        print(f"{name:14} {cpu:7.1f} {imports:8.1f} {wall:7.1f} {peak:9.0f}  {', '.join(found[0].heavy)}")
    total = sum(cost.cpu for found in costs.values() for cost in found) / runs
    print(f"{'sum':14} {total:7.1f}")


if __name__ == "__main__":
    main()
