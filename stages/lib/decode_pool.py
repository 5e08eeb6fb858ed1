"""Decode many hostile files at once, in order, in processes that may die.

Each worker is a child process (`decode_worker`) that holds a few small files, or one, at a time. One that
crashes or takes too long is replaced, its files are tried once more, each alone, and the one that ends a
worker again is refused as `decoder_crash`; all others go on.
Cost: 0.2 CPU seconds to start a worker, about 0.2 ms a request for the two pipes.
"""

import io
import os
import select
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import LifoQueue
from typing import Any, TypeVar

import numpy as np

from stages.lib.decode_worker import Rules, pack, pack_many, unpack, unpack_many
from stages.lib.errors import MachineError
from stages.lib.refusal import RefusalError

T = TypeVar("T")
R = TypeVar("R")

DECODE_SECONDS = 5.0
"""Time for one file: a PNG of 48 megapixels takes 2.7 s on one core, a photograph of 12 takes 0.2."""

SECOND_CHANCE = 4.0
"""The second try may take this many times longer, so that a busy machine refuses no sound file."""

START_SECONDS = 60.0
"""Time for a worker to start; it needs 0.2 s on an idle machine."""

MOST_WORKERS = 8
IN_FLIGHT_PER_WORKER = 8
"""Files read ahead for each worker: enough to keep it busy, little enough to bound memory."""

IN_FLIGHT_BYTES = 64 * 2**20
"""Encoded bytes that wait, where items carry their bytes with them."""

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Stored:
    """A decoded image in its stored form (S, S) or (S, S, 3) uint8, and what the file was before."""

    pixels: np.ndarray
    width: int
    height: int
    mode: str
    format: str
    findings: tuple[str, ...]


class WorkerLost(Exception):  # noqa: N818 (an event inside this module, not an error of the program)
    """The worker died or was ended because it took too long."""


def worker_count() -> int:
    """Return the cores this process may use, at most MOST_WORKERS; results do not depend on it."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


def worker_command(rules: Rules) -> tuple[str, ...]:
    """Return the command line of a worker."""
    return (sys.executable, "-P", "-m", "stages.lib.decode_worker", rules.to_json())


class Worker:
    """One child process, started at its first file and again after each loss."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def ask(self, files: Sequence[bytes], seconds: float) -> list[bytes]:
        """Send some files and return a frame for each; WorkerLost says how the worker ended."""
        if self._closed:
            raise WorkerLost("was closed")
        process = self._process or self._start()
        try:
            return unpack_many(*_exchange(process, pack_many(files), seconds))
        except WorkerLost:
            self.clear()
            raise

    def _start(self) -> "subprocess.Popen[bytes]":
        paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | single | {"PYTHONPATH": os.pathsep.join(paths)},
            bufsize=0,
        )
        try:
            _exchange(self._process, b"", START_SECONDS)
        except WorkerLost as lost:
            self.clear()
            told = "`python -m stages.lib.decode_worker {}` shows why"
            raise MachineError(f"the image decoder could not start ({lost}): {told}") from lost
        return self._process

    def stop(self) -> None:
        """End the process for good; whoever waits for its answer loses it."""
        self._closed = True
        if self._process is not None:
            self._process.kill()

    def clear(self) -> None:
        """End the process, if there is one, and close its pipes; only for whoever holds the worker."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.communicate()


def _exchange(
    process: "subprocess.Popen[bytes]", request: bytes, seconds: float
) -> tuple[dict[str, Any], bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    answers = process.stdout.fileno()
    deadline = time.monotonic() + seconds
    try:
        _write(process.stdin.fileno(), request)
        return unpack(lambda size: _read(answers, size, deadline))
    except TimeoutError as error:
        raise WorkerLost(f"took longer than {seconds:g} s") from error
    except (EOFError, BrokenPipeError) as error:
        raise WorkerLost(f"ended with code {process.wait()}") from error


def _write(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def _read(descriptor: int, size: int, deadline: float) -> bytes:
    """Read exactly `size` bytes before the deadline."""
    parts = bytearray()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(parts) < size:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        part = os.read(descriptor, size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


class DecodePool:
    """Workers, and a thread for each that waits for it. Use it inside `contextlib.closing`."""

    def __init__(
        self,
        rules: Rules,
        command: Sequence[str] | None = None,
        workers: int | None = None,
        seconds: float = DECODE_SECONDS,
    ) -> None:
        self._rules = rules
        self._seconds = seconds
        self._workers = [Worker(command or worker_command(rules)) for _ in range(workers or worker_count())]
        self._idle: LifoQueue[Worker] = LifoQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(len(self._workers))

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.clear()

    def ordered(
        self, function: Callable[[T], R], items: Iterable[T], weigh: Callable[[T], int] = lambda _: 0
    ) -> Iterator[R]:
        """Yield `function(item)` in the items' order, a bounded number ahead; it may call `decode`.

        `weigh` gives the bytes that an item holds while it waits: at most IN_FLIGHT_BYTES and one item more.
        """
        ahead: deque[tuple[Future[R], int]] = deque()
        held = 0
        for item in items:
            ahead.append((self._threads.submit(function, item), weigh(item)))
            held += ahead[-1][1]
            while len(ahead) >= IN_FLIGHT_PER_WORKER * len(self._workers) or (
                ahead and held > IN_FLIGHT_BYTES
            ):
                future, weight = ahead.popleft()
                held -= weight
                yield future.result()
        yield from (future.result() for future, _ in ahead)

    def decode(self, data: bytes) -> Stored:
        """Decode one file's bytes; RefusalError where it cannot be trusted or no worker survives it."""
        (result,) = self.decode_many([data])
        if isinstance(result, RefusalError):
            raise result
        return result

    def decode_many(self, files: Sequence[bytes]) -> list[Stored | RefusalError]:
        """Decode some files in one request: for each the image, or why it is not used."""
        worker = self._idle.get()
        try:
            frames = worker.ask(files, self._seconds)
        except WorkerLost:
            frames = [self._ask_alone(worker, data, len(files) == 1) for data in files]
        finally:
            self._idle.put(worker)
        return [self._stored(frame) for frame in frames]

    def _ask_alone(self, worker: Worker, data: bytes, is_second: bool) -> bytes:
        """Return the frame of one file, a refusal where it ends the worker in its second try."""
        try:
            (frame,) = worker.ask([data], (SECOND_CHANCE if is_second else 1.0) * self._seconds)
        except WorkerLost as lost:
            if not is_second:
                return self._ask_alone(worker, data, is_second=True)
            detail = f"the decoder {lost}, twice: save the image again with another program, or remove it"
            return pack({"reason": "decoder_crash", "detail": detail})
        return frame

    def _stored(self, frame: bytes) -> Stored | RefusalError:
        header, payload = unpack(io.BytesIO(frame).read)
        if "reason" in header:
            return RefusalError(header["reason"], header["detail"])
        side = self._rules.image_size
        shape = (side, side) if header["channels"] == 1 else (side, side, 3)
        pixels = np.frombuffer(payload, np.uint8).reshape(shape)
        facts = (header["width"], header["height"], header["mode"], header["format"])
        return Stored(pixels, *facts, tuple(header["findings"]))
