"""Weights that somebody else made: read without running anything of theirs, whatever the file is called.

safetensors is read as it is. A pickled checkpoint (`.pth`, `.th`, `.pt`) is opened in a child process with
`weights_only=True` and limits on memory, time and what it may write; the child hands over safetensors. The
file is pinned by its SHA-256, so that nobody can put another one in its place.
"""

import hashlib
import io
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from stages.lib.errors import InputError

MOST_BYTES = 8 << 30
CHILD_SECONDS = 300
CHILD_BYTES = 2 << 30
"""What the child needs beside four times the file: torch itself."""

SHOWN = 400
_PICKLES = (b"PK\x03\x04", b"\x80")


def read_third_party(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """Return the file's largest set of named tensors, as float32.

    InputError when it is not the pinned file, holds no tensors, other numbers than floats, NaN, or anything
    that is more than tensors.
    """
    try:
        content = path.read_bytes() if path.stat().st_size <= MOST_BYTES else b""
    except OSError as error:
        raise InputError(f"train.init_file: {path} cannot be read ({error.strerror})") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise InputError(
            f"{path}: its SHA-256 is {found}, train.init_sha256 says {sha256 or 'nothing'}: it is not the "
            "file that was chosen; if it is the right one, write its hash there"
        )
    if content[8:9] == b"{":
        tensors = _from_safetensors(path, content)
    elif content.startswith(_PICKLES):
        tensors = _in_a_child(path, content)
    else:
        raise InputError(f"{path}: neither safetensors nor a torch checkpoint; nothing else is read")
    return {name: _as_float(path, name, tensor) for name, tensor in tensors.items()}


def _from_safetensors(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: a damaged safetensors file ({error})") from error
    return tensors


def _as_float(path: Path, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Accept float32, and the brief floats that float32 holds exactly; counters stay what they are."""
    if tensor.dtype == torch.int64 and tensor.ndim == 0:
        return tensor
    if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise InputError(f"{path}: tensor {name} is {tensor.dtype}; expected float32, float16 or bfloat16")
    if not bool(torch.isfinite(tensor).all()):
        wrong = int((~torch.isfinite(tensor)).sum())
        raise InputError(f"{path}: tensor {name} holds {wrong} NaN or infinite numbers of {tensor.numel()}")
    return tensor.float()


def _in_a_child(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    """Let a child read what was hashed (not the path again) and hand over safetensors."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_bytes(content)
        command = [sys.executable, "-m", "stages.lib.third_party", str(source), str(target)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=CHILD_SECONDS, check=False, errors="replace"
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{path}: reading took more than {CHILD_SECONDS} s: refused") from error
        if done.returncode or not target.exists():
            raise InputError(
                f"{path}: refused: it is damaged or holds more than tensors, which could run as code: "
                f"{done.stderr.strip()[-SHOWN:]}"
            )
        return _from_safetensors(path, target.read_bytes())


def largest_set(value: object, depth: int = 3) -> dict[str, torch.Tensor]:
    """Return the dict of named tensors with the most numbers, however a training script has nested it."""
    if not isinstance(value, Mapping):
        return {}
    own = {
        name: item for name, item in value.items() if isinstance(name, str) and isinstance(item, torch.Tensor)
    }
    found = [own]
    if depth:
        found += [largest_set(item, depth - 1) for item in value.values()]
    return max(found, key=lambda tensors: sum(tensor.numel() for tensor in tensors.values()))


def unpickled(source: Path) -> dict[str, torch.Tensor]:
    """Read a torch checkpoint's largest set of named tensors with `weights_only`; ValueError if it cannot."""
    import pickle
    import zipfile

    content = source.read_bytes()  # not the path: torch would judge by its name
    expected = (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError)
    careless = (TypeError, AttributeError, IndexError, MemoryError, OSError)
    try:
        tensors = largest_set(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except (*expected, *careless) as error:
        first = str(error).splitlines()[:1]
        raise ValueError(f"{type(error).__name__}: {''.join(first)}") from error
    if not tensors:
        raise ValueError("no named tensors in it")
    return tensors


def convert(source: Path, target: Path) -> int:
    """Be the child: limit yourself, read, write safetensors; 0, or 1 with the reason on stderr."""
    from safetensors.torch import save_file

    size = source.stat().st_size
    resource.setrlimit(resource.RLIMIT_CPU, (CHILD_SECONDS, CHILD_SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (CHILD_BYTES + 4 * size,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * size + (1 << 20),) * 2)
    try:
        tensors = unpickled(source)
    except ValueError as error:
        sys.stderr.write(str(error))
        return 1
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, target)
    return 0


if __name__ == "__main__":
    sys.exit(convert(Path(sys.argv[1]), Path(sys.argv[2])))
