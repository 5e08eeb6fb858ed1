"""Weights that somebody else made: read without running anything of theirs, whatever the file is called.

safetensors is read as it is. A pickled checkpoint (`.pth`, `.th`, `.pt`) is opened in a child process with
`weights_only=True` and limits on memory, time and what it may write; the child hands over safetensors. The
file is pinned by its SHA-256, so that nobody can put another one in its place.
"""

import io
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load

from stages.lib.errors import InputError, prefixed
from stages.lib.pinned_file import Pinned

CHILD_SECONDS = 300
CHILD_BYTES = 2 << 30
"""What the child needs beside four times the file: torch itself."""

SHOWN = 400
NOTHING_NAMED = 2
"""The child's exit code where the file is in order and yet holds no weights by name."""

_PICKLES = (b"PK\x03\x04", b"\x80")


AVERAGED = ("state_dict_ema", "model_ema")
"""Where timm's training script keeps the running mean of the weights, which is what timm itself loads."""

RIVAL = 0.5
"""A set of tensors with this share of the largest one's numbers may be the network, too."""

DEEPEST_SET = 3


@dataclass(frozen=True)
class ThirdParty:
    """Named tensors as they are in the file; of several sets the one that was taken, and those left.

    Sets go by their keys in the file, `state_dict_ema` for one; the whole file's is the empty name.
    """

    tensors: dict[str, torch.Tensor]
    taken: str = ""
    left: tuple[str, ...] = ()

    def facts(self) -> dict[str, object]:
        """Return what people want to know."""
        return {"taken": self.taken, "left": list(self.left)}


def read_third_party(path: Path, sha256: str) -> ThirdParty:
    """Return the file's named tensors: the running mean of the weights if it has one, else the largest set.

    InputError when it is not the pinned file, holds no tensors, or anything that is more than tensors.
    """
    content = Pinned("train.init", path, sha256).content()
    with prefixed("train.init_file: "):
        if content[8:9] == b"{":
            return ThirdParty(_from_safetensors(path, content))
        if content.startswith(_PICKLES):
            return _in_a_child(path, content)
        raise InputError(f"{path}: neither safetensors nor a torch checkpoint; nothing else is read")


def _from_safetensors(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path}: a damaged safetensors file ({error})") from error
    return tensors


def _in_a_child(path: Path, content: bytes) -> ThirdParty:
    """Let a child read what was hashed (not the path again) and hand over safetensors."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        source.write_bytes(content)
        quiet = [sys.executable, "-W", "ignore"]  # what it says is the reason for a refusal
        command = [*quiet, "-m", "stages.lib.third_party", str(source), str(target)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=CHILD_SECONDS, check=False, errors="replace"
            )
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{path}: reading took more than {CHILD_SECONDS} s: refused") from error
        if done.returncode == NOTHING_NAMED:
            raise InputError(
                f"{path}: it holds no tensors by name, only a list or other values: save the model's "
                "state_dict(), as `torch.save(model.state_dict(), …)` does"
            )
        if done.returncode or not target.exists():
            raise InputError(
                f"{path}: refused: it is damaged or holds more than tensors, which could run as code: "
                f"{done.stderr.strip()[-SHOWN:]}"
            )
        tensors = _from_safetensors(path, target.read_bytes())
        with safe_open(target, framework="pt") as opened:
            sets = opened.metadata()
        return ThirdParty(tensors, sets["taken"], tuple(json.loads(sets["left"])))


def chosen_set(value: object) -> ThirdParty:
    """Choose among the dicts of named tensors, however a training script has nested them.

    The largest that is a running mean, if it is no mere part of the network; else the largest.
    """
    found = sorted(_sets(value, (), DEEPEST_SET), key=lambda one: -_size(one[1]))
    if not found:
        return ThirdParty({})
    rivals = [one for one in found if _size(one[1]) >= RIVAL * _size(found[0][1])]
    keys, tensors = next((one for one in rivals if set(one[0]) & set(AVERAGED)), rivals[0])
    return ThirdParty(tensors, ".".join(keys), tuple(".".join(other) for other, _ in rivals if other != keys))


def _sets(
    value: object, keys: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], dict[str, torch.Tensor]]]:
    """Yield every dict of named tensors with the keys that lead to it."""
    if not isinstance(value, Mapping):
        return
    tensors = {
        name: item for name, item in value.items() if isinstance(name, str) and isinstance(item, torch.Tensor)
    }
    if tensors:
        yield keys, tensors
    if depth:
        for key, item in value.items():
            yield from _sets(item, (*keys, str(key)), depth - 1)


def _size(tensors: Mapping[str, torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


class NothingNamedError(ValueError):
    """A checkpoint that is in order and yet holds no weights by name."""


def unpickled(source: Path) -> ThirdParty:
    """Read a torch checkpoint's chosen set of named tensors with `weights_only`; ValueError if it cannot."""
    import pickle
    import zipfile

    content = source.read_bytes()  # not the path: torch would judge by its name
    expected = (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError)
    careless = (TypeError, AttributeError, IndexError, MemoryError, OSError)
    try:
        chosen = chosen_set(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
        plain = {name: tensor.clone().contiguous() for name, tensor in chosen.tensors.items()}
    except (*expected, *careless) as error:
        raise ValueError(f"{type(error).__name__}: {_reason(error)}") from error
    if not plain:
        raise NothingNamedError("no named tensors in it")
    return ThirdParty(plain, chosen.taken, chosen.left)


def _reason(error: Exception) -> str:
    """Return what was met, in a line; torch wraps it in advice to open the file without any guard."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    advised = len(lines) > 1 and lines[0].startswith("Weights only load failed")
    line = "".join(lines[-2:-1] if advised else lines[:1]).removeprefix("WeightsUnpickler error: ")
    return line.partition(" Please use ")[0].partition(" This is an internal ")[0]


def convert(source: Path, target: Path) -> int:
    """Be the child: limit yourself, read, write safetensors; 0, NOTHING_NAMED, or 1 with the reason."""
    from safetensors.torch import save_file

    size = source.stat().st_size
    resource.setrlimit(resource.RLIMIT_CPU, (CHILD_SECONDS, CHILD_SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (CHILD_BYTES + 4 * size,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * size + (1 << 20),) * 2)
    try:
        chosen = unpickled(source)
    except NothingNamedError:
        return NOTHING_NAMED
    except ValueError as error:
        sys.stderr.write(str(error))
        return 1
    save_file(chosen.tensors, target, {"taken": chosen.taken, "left": json.dumps(chosen.left)})
    return 0


if __name__ == "__main__":
    sys.exit(convert(Path(sys.argv[1]), Path(sys.argv[2])))
