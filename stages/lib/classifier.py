"""A released model at work: files in, answers out, with the limits and calibration it was released with.

What is done to a file is what `ingest` did: the same rules, the same separate workers with bounded memory and
time (`lib/decode_pool.py`). The answer is a class, or "not sure" below the confidence that val chose.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.lib.artifacts import read_json
from stages.lib.calibration import warm
from stages.lib.decode_pool import DecodePool, Stored
from stages.lib.decode_worker import Rules
from stages.lib.errors import InputError
from stages.lib.onnx_model import predict_onnx, read_onnx
from stages.lib.payload import CALIBRATION, CLASSES, ONNX, PREPROCESSING
from stages.lib.refusal import RefusalError

if TYPE_CHECKING:
    import onnxruntime

BATCH = 64
NOT_SURE = "not sure"
MAX_FILE_BYTES = 256 * 2**20
"""No photograph is larger; what is would only be read into memory to be refused."""


@dataclass(frozen=True)
class Answer:
    """What the model says of one file. answer: a class, "not sure", or empty where the file was refused.

    best: the likeliest class whatever the confidence; confidence: its calibrated probability, 0 if refused.
    """

    file: str
    answer: str
    confidence: float
    best: str
    refused: str


@dataclass(frozen=True)
class Classifier:
    """A model with the workers that decode for it."""

    session: "onnxruntime.InferenceSession"
    classes: tuple[str, ...]
    channels: int
    temperature: float
    abstain_below: float
    pool: DecodePool

    def answers(self, files: Iterable[tuple[str, Callable[[], bytes]]]) -> Iterator[Answer]:
        """Answer (name, read) pairs in order, BATCH at a time."""
        batch: list[tuple[str, Callable[[], bytes]]] = []
        for item in files:
            batch.append(item)
            if len(batch) == BATCH:
                yield from self._batch(batch)
                batch = []
        yield from self._batch(batch)

    def _batch(self, batch: Sequence[tuple[str, Callable[[], bytes]]]) -> Iterator[Answer]:
        decoded = list(self.pool.ordered(self._decode, (read for _, read in batch)))
        kept = [index for index, result in enumerate(decoded) if isinstance(result, Stored)]
        images = [as_input(decoded[index], self.channels) for index in kept]
        found = (
            warm(predict_onnx(self.session, np.stack(images)), self.temperature) if kept else np.empty((0, 0))
        )
        row = dict(zip(kept, found, strict=True))
        for index, ((name, _), result) in enumerate(zip(batch, decoded, strict=True)):
            if isinstance(result, RefusalError):
                yield Answer(name, "", 0.0, "", f"{result.reason}: {result.detail}")
            else:
                yield self._answer(name, row[index])

    def _decode(self, read: Callable[[], bytes]) -> Stored | RefusalError:
        try:
            return self.pool.decode(read())
        except RefusalError as error:
            return error
        except OSError as error:
            return RefusalError("unreadable", error.strerror or str(error))

    def _answer(self, name: str, pred_probs: np.ndarray) -> Answer:
        best = int(pred_probs.argmax())
        confidence = float(pred_probs[best])
        answer = self.classes[best] if confidence >= self.abstain_below else NOT_SURE
        return Answer(name, answer, confidence, self.classes[best], "")


def as_input(stored: "Stored | RefusalError", channels: int) -> np.ndarray:
    """Return stored pixels (H, W[, 3]) as the model takes them, (H, W, C): grey repeated, or made grey."""
    assert isinstance(stored, Stored)
    pixels = stored.pixels
    if channels == 3:
        return np.asarray(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2))
    if pixels.ndim == 3:
        from PIL import Image

        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    return pixels[..., None]


@contextmanager
def open_classifier(bundle: Path) -> Iterator[Classifier]:
    """Open the model of a bundle whose files have been listed and checked; its workers end with the block."""
    try:
        about, calibration = read_json(bundle / PREPROCESSING), read_json(bundle / CALIBRATION)
        rules = Rules(**about["rules"] | {"background": tuple(about["rules"]["background"])})
        channels = int(about["channels"])
        temperature, threshold = float(calibration["temperature"]), float(calibration["abstain_below"])
        classes = tuple(str(name) for name in read_json(bundle / CLASSES))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{bundle}: its preprocessing or calibration cannot be read ({error!r})") from error
    session = read_onnx(bundle / ONNX)
    with closing(DecodePool(rules)) as pool:
        yield Classifier(session, classes, channels, temperature, threshold, pool)


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the regular files among the paths and below the folders among them; links are not followed."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            found += sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return found


def reader(path: Path) -> Callable[[], bytes]:
    """Return a function that reads the file, or refuses it by its size."""

    def read() -> bytes:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise RefusalError("file_too_large", f"{size} bytes, at most {MAX_FILE_BYTES}: shrink the image")
        return path.read_bytes()

    return read
