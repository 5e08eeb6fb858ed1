"""Run a bundle's ONNX model: one thread, bounded, no torch."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from stages.lib.errors import InputError

if TYPE_CHECKING:
    import onnxruntime

BATCH = 256
LATENCY_RUNS = 50
WARM_UP_RUNS = 5


def median_ms(call: Callable[[], object]) -> float:
    """Return the median time of a call in milliseconds; the first ones warm up and do not count."""
    for _ in range(WARM_UP_RUNS):
        call()
    times = []
    for _ in range(LATENCY_RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


def open_onnx(content: bytes, name: str) -> "onnxruntime.InferenceSession":
    """Open a model from bytes, so that no external data file can be reached; InputError where it is none."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(f"{name}: not an ONNX model that can be run ({reason})") from error


def read_onnx(path: Path) -> "onnxruntime.InferenceSession":
    """Read the file once and open what was read."""
    return open_onnx(path.read_bytes(), path.name)


def predict_onnx(session: "onnxruntime.InferenceSession", pixels: np.ndarray) -> np.ndarray:
    """Return pred_probs (N, K) float32 of pixels (N, H, W, C) uint8."""
    name = session.get_inputs()[0].name
    chunks = [
        session.run(None, {name: np.ascontiguousarray(pixels[start : start + BATCH])})[0]
        for start in range(0, len(pixels), BATCH)
    ]
    return np.concatenate(chunks)


def latency_ms(session: "onnxruntime.InferenceSession", shape: tuple[int, int, int]) -> float:
    """Return the median time of one image in milliseconds, on one core."""
    image = np.zeros((1, *shape), np.uint8)
    return median_ms(lambda: predict_onnx(session, image))
