"""How much memory does a command take at its peak, with every process that it starts?

    python -m bench.tree_memory [--every 0.1] COMMAND …

Runs the command and adds up the proportional set sizes (Linux: shared pages are counted once) of its whole
process tree, so many times a second; prints the largest sum, the number of processes at that moment, and the
CPU and wall seconds. What lives shorter than the interval is missed.
"""

import argparse
import json
import os
import resource
import subprocess
import time
from pathlib import Path

import psutil


def proportional_bytes(process: psutil.Process) -> int:
    """Return the proportional set size of one process, 0 where it has just ended."""
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


def tree(process: psutil.Process) -> list[psutil.Process]:
    """Return the process and what it has started, nothing where it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def watch(command: list[str], every: float) -> dict[str, float]:
    """Run the command to its end; return what it took."""
    started = time.monotonic()
    running = subprocess.Popen(command)
    root, most, processes = psutil.Process(running.pid), 0, 0
    while running.poll() is None:
        found = tree(root)
        taken = sum(proportional_bytes(process) for process in found)
        if taken > most:
            most, processes = taken, len(found)
        time.sleep(every)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "exit_code": running.returncode,
        "peak_mib": most >> 20,
        "processes_at_peak": processes,
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "wall_s": round(time.monotonic() - started, 1),
    }


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=float, default=0.1, help="seconds between two looks")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    os.environ.setdefault("ASSAY_TRACKING", "off")
    print(json.dumps(watch(asked.command, asked.every)))


if __name__ == "__main__":
    main()
