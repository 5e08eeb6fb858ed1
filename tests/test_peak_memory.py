"""The peak that benches and memory tests read is this process's own."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.peak_memory import forget_peak, peak_mib
from stages.lib.device import keep_freed_memory

ROOT = Path(__file__).parents[1]
MIB = 2**17
"""Numbers of eight bytes."""


def test_a_peak_is_seen_after_its_memory_is_given_back_and_forgotten_when_asked() -> None:
    before = forget_peak()
    held = np.ones(100 * MIB)
    del held
    assert 95 < peak_mib() - before < 115
    assert forget_peak() < before + 15


def test_a_peak_does_not_hide_in_what_the_allocator_keeps() -> None:
    keep_freed_memory()
    freed = [np.ones(16 * MIB) for _ in range(20)]  # small enough for the heap
    del freed
    before = forget_peak()
    held = np.ones(100 * MIB)
    del held
    assert 95 < peak_mib() - before < 115


def test_a_small_process_started_by_a_large_one_reports_its_own_peak() -> None:
    held = np.ones(400 * MIB)
    command = [sys.executable, "-c", "from bench.peak_memory import peak_mib; print(peak_mib())"]
    told = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert float(told) < 100 < held.nbytes / 2**20
