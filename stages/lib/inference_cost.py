"""What one answer costs on this machine: parameters, operations, and time by PyTorch and ONNX Runtime.

Times differ from run to run and machine to machine, so no stage writes them into an output: they are kept in
the state folder (lib/state.py), named by the digest of the weights that were timed, and are shown only while
these weights are the current ones. One core each, median of the runs, whole calls from stored pixels to
probabilities.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.artifacts import read_json, write_json
from stages.lib.payload import digest_of_files
from stages.lib.state import state_folder

BATCHES = (1, 64)
"""One picture as a user waits for it, and 64 as a queue is worked off."""


def measure(files: Mapping[str, Path], classes: Sequence[str]) -> dict[str, Any]:
    """Return parameters, operations an image, and {runtime: {batch: milliseconds}} of the networks' mean."""
    import torch

    from stages.lib.net_report import describe
    from stages.lib.onnx_model import median_ms, predict_onnx, read_onnx
    from stages.lib.released import load_released, predict_torch, write_onnx

    torch.set_num_threads(1)
    model, shape = load_released(files, classes)
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(Path(folder) / "model.onnx", model, shape)
        session = read_onnx(Path(folder) / "model.onnx")
    pixels = {batch: np.zeros((batch, *shape), np.uint8) for batch in BATCHES}
    networks = [describe(network, shape[2], shape[0]) for network in model.networks]
    return {
        "n_networks": len(networks),
        "n_parameters": sum(one["n_parameters"] for one in networks),
        "flops_per_image": sum(one["flops_per_image"] for one in networks),
        "ms": {
            "torch": {str(n): median_ms(partial(predict_torch, model, batch)) for n, batch in pixels.items()},
            "onnx": {str(n): median_ms(partial(predict_onnx, session, batch)) for n, batch in pixels.items()},
        },
    }


def place_of(files: Mapping[str, Path]) -> Path:
    """Return where the figures of these weights are kept."""
    return state_folder() / "costs" / f"{digest_of_files(files)}.json"


def keep(files: Mapping[str, Path], found: Mapping[str, Any]) -> None:
    """Keep the figures of these weights."""
    write_json(place_of(files), dict(found))


def kept(files: Mapping[str, Path]) -> dict[str, Any] | None:
    """Return the figures of these very weights; None where they were never timed here."""
    if not all(path.is_file() for path in files.values()):
        return None
    place = place_of(files)
    found: dict[str, Any] | None = read_json(place) if place.is_file() else None
    return found
