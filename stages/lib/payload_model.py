"""Put a model into a payload and measure it there: weights, ONNX, their parity, size and time of an image."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.lib.cli import Context
from stages.lib.dataset import Dataset
from stages.lib.payload import ONNX, weight_files
from stages.lib.progress import say
from stages.lib.truth import Truth

if TYPE_CHECKING:
    from stages.lib.released import Released


def empty_folder(path: Path) -> Path:
    """Remove a folder with its contents and make it again."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def put_model(
    payload: Path,
    files: Mapping[str, Path],
    dataset: Dataset,
    truth: Truth,
    max_latency_ms: float,
    context: Context,
) -> tuple["Released", np.ndarray, dict[str, Any]]:
    """Copy the weights, export them to ONNX; return the model, its pred_probs (N, K), and measured facts."""
    from stages.lib.released import load_released, write_onnx

    for name, path in files.items():
        shutil.copyfile(path, payload / f"{name}.safetensors")
    model, shape = load_released(weight_files(payload), dataset.classes)
    write_onnx(payload / ONNX, model, shape)
    size = sum(path.stat().st_size for path in payload.iterdir())
    pixels, on_test = pixels_of(dataset, truth), truth.split == "test"
    pred_probs, measured = measure(model, payload / ONNX, pixels, on_test, max_latency_ms, context)
    return model, pred_probs, measured | {"size_bytes": size, "n_parameters": model.n_parameters}


def measure(
    model: "Released",
    onnx: Path,
    pixels: np.ndarray,
    on_test: np.ndarray,
    max_latency_ms: float,
    context: Context,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return PyTorch's pred_probs (N, K), and parity, latency and size as facts."""
    from stages.lib.onnx_model import latency_ms, predict_onnx, read_onnx
    from stages.lib.released import predict_torch

    session = read_onnx(onnx)
    by_torch, by_onnx = predict_torch(model, pixels), predict_onnx(session, pixels)
    took = latency_ms(session, pixels.shape[1:])
    context.journal.metrics({"latency_ms": took}, step=0)
    say(f"one image takes {took:.2f} ms by ONNX Runtime on one core")
    changed = by_torch.argmax(1) != by_onnx.argmax(1)
    parity = {
        "max_difference": float(np.abs(by_torch - by_onnx).max()),
        "n": int(on_test.sum()),
        "n_top1_changed": int(changed[on_test].sum()),
    }
    return by_torch, {"onnx": parity, "latency_within_bound": took <= max_latency_ms}


def pixels_of(dataset: Dataset, truth: Truth) -> np.ndarray:
    """Return the pixels (N, H, W, C) of the truth's samples, in its order."""
    position = {name: index for index, name in enumerate(dataset.sample_ids)}
    return np.asarray(dataset.pixels[[position[name] for name in truth.sample_ids]])
