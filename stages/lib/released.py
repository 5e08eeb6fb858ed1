"""The released model as one network: stored pixels in, probabilities out, for PyTorch and for ONNX.

Normalisation and the mean over members are part of it, so whoever runs it can get neither wrong.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from stages.lib.artifacts import atomic
from stages.lib.errors import InputError
from stages.lib.net_report import count_parameters
from stages.lib.nets import Classifier
from stages.lib.normalise import Normalisation, normalise
from stages.lib.tasks import CHUNK
from stages.lib.weights import MODEL, load_classifier

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "pixels", "pred_probs"
MAX_ONNX_BYTES = 2 * 10**9
"""Above 2 GB (protobuf's limit) ONNX needs side files; no network here comes near."""


class Released(nn.Module):
    """Mean of probabilities of networks that were normalised alike."""

    def __init__(self, networks: Sequence[Classifier], normalisation: Normalisation) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.normalisation = normalisation

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map pixels (N, H, W, C) uint8 to pred_probs (N, K)."""
        images = normalise(pixels.permute(0, 3, 1, 2).float() / 255, self.normalisation)
        parts = [torch.softmax(network(images), 1) for network in self.networks]
        return torch.stack(parts).mean(0) if len(parts) > 1 else parts[0]

    @property
    def n_parameters(self) -> int:
        """Return the number of weights of all members."""
        return count_parameters(self)


def load_released(paths: Mapping[str, Path], classes: Sequence[str]) -> tuple[Released, tuple[int, int, int]]:
    """Load the weights files by name, in name order; return the model and its input's (H, W, C)."""
    loaded = {name: load_classifier(path, classes) for name, path in sorted(paths.items())}
    cards = [card for _, card, _ in loaded.values()]
    if (
        len(
            {(card.normalisation, card.architecture.image_size, card.architecture.channels) for card in cards}
        )
        != 1
    ):
        raise InputError("the released networks were made for different images: run `dvc repro`")
    shape = (
        cards[0].architecture.image_size,
        cards[0].architecture.image_size,
        cards[0].architecture.channels,
    )
    return Released([network for network, _, _ in loaded.values()], cards[0].normalisation).eval(), shape


def predict_torch(model: Released, pixels: np.ndarray) -> np.ndarray:
    """Return pred_probs (N, K) float32 of pixels (N, H, W, C) uint8."""
    with torch.no_grad():
        chunks = [
            model(torch.from_numpy(np.array(pixels[start : start + CHUNK])))
            for start in range(0, len(pixels), CHUNK)
        ]
    return torch.cat(chunks).numpy()


def write_onnx(path: Path, model: Released, shape: tuple[int, int, int]) -> None:
    """Export for any batch size; the same bytes for the same weights, and no path of this machine in them."""
    import onnx

    example = torch.zeros((2, *shape), dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    proto = program.model_proto
    _strip(proto)
    onnx.checker.check_model(proto)
    content = proto.SerializeToString(deterministic=True)
    if len(content) > MAX_ONNX_BYTES:
        raise InputError(f"{path.name} would have {len(content)} bytes, more than ONNX holds in one file")
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def _strip(proto: "onnx.ModelProto") -> None:
    """Remove what the exporter says of its own code: stack traces name files of this machine."""
    del proto.metadata_props[:]
    proto.doc_string = ""
    graphs = [proto.graph, *proto.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        graph.doc_string = ""
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info, *proto.graph.initializer):
        del value.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's notes on packages that it could also use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def model_files(model: str, train: Path, distill: Path, seeds: Sequence[int]) -> dict[str, Path]:
    """Return the weights of `student`, or of every member of `ensemble`, by the bundle's name of the file."""
    if model == "student":
        return {"model": distill / MODEL}
    return {f"seed{seed}": train / f"seed{seed}" / MODEL for seed in seeds}
