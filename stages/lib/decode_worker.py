"""The process in which hostile files are decoded: it may crash or hang, the run does not.

Started by `decode_pool`. It answers each request (the bytes of some files) with the stored form of each image
(square uint8 pixels) or with a refusal. Requests and answers are frames: two big-endian lengths, a JSON
header, a payload. No pickle: a decoder that was taken over must not be able to hand objects to the parent.
"""

import json
import os
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from stages.lib.decode import Limits, decode
from stages.lib.lock import die_with_parent
from stages.lib.refusal import RefusalError
from stages.lib.square import Fit, fit_square, without_needless_colour

_LENGTHS = struct.Struct(">II")

MEMORY_BYTES = 4 * 2**30
"""Address space of a worker: an image at Pillow's own pixel limit, several times over, and no more."""


@dataclass(frozen=True)
class Rules:
    """How images become stored images: `ingest`'s params, as the worker needs them."""

    max_pixels: int
    min_side: int
    max_aspect: float
    image_size: int
    fit: Fit
    background: tuple[int, int, int]

    def to_json(self) -> str:
        """Write the rules as the worker's one argument."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Rules":
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return Rules(**values | {"background": tuple(values["background"])})


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Build one frame."""
    encoded = json.dumps(header).encode()
    return _LENGTHS.pack(len(encoded), len(payload)) + encoded + payload


def unpack(read: Callable[[int], bytes]) -> tuple[dict[str, Any], bytes]:
    """Read one frame by `read(n)`, which gives exactly n bytes or raises EOFError."""
    header_size, payload_size = _LENGTHS.unpack(read(_LENGTHS.size))
    header: dict[str, Any] = json.loads(read(header_size))
    return header, read(payload_size)


def pack_many(parts: Sequence[bytes]) -> bytes:
    """Build one frame of several parts: a pipe's cost is paid once for many small files."""
    return pack({"sizes": [len(part) for part in parts]}, b"".join(parts))


def unpack_many(header: dict[str, Any], payload: bytes) -> list[bytes]:
    """Take the parts out of a frame; EOFError where they do not fill it."""
    ends = list(accumulate(header["sizes"]))
    if (ends or [0])[-1] != len(payload):
        raise EOFError
    return [payload[end - size : end] for size, end in zip(header["sizes"], ends, strict=True)]


def answer(data: bytes, rules: Rules) -> bytes:
    """Decode one file and give the answer's frame."""
    try:
        limits = Limits(rules.max_pixels, rules.min_side, rules.max_aspect)
        decoded = decode(data, limits, rules.background)
    except RefusalError as refusal:
        return pack({"reason": refusal.reason, "detail": refusal.detail})
    height, width = decoded.image.shape[:2]
    findings = set(decoded.findings)
    if min(height, width) < rules.image_size:
        findings.add("upscaled")
    pixels = without_needless_colour(fit_square(decoded.image, rules.image_size, rules.fit, rules.background))
    header = {
        "width": width,
        "height": height,
        "mode": decoded.mode,
        "format": decoded.format,
        "findings": sorted(findings),
        "channels": 1 if pixels.ndim == 2 else 3,
    }
    return pack(header, np.ascontiguousarray(pixels).tobytes())


def serve(respond: Callable[[bytes], bytes]) -> None:
    """Answer requests on standard input until it ends; an empty first frame says that the worker is ready."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a C library prints must not end up between the answers

    def read(size: int) -> bytes:
        data = requests.read(size)
        if len(data) < size:
            raise EOFError
        return data

    answers.write(pack({}))
    answers.flush()
    while requests.peek(1):
        answers.write(pack_many([respond(data) for data in unpack_many(*unpack(read))]))
        answers.flush()


def bound_memory() -> None:
    """Hold this process to MEMORY_BYTES of address space, where the system can."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))


if __name__ == "__main__":
    die_with_parent()
    bound_memory()
    rules = Rules.from_json(sys.argv[1])
    serve(lambda data: answer(data, rules))
