"""Files made to run code when they are opened, in the shapes that scanners are known to miss.

Each payload is harmless: it makes a folder. Most are shown to be live by opening them without any guard.
"""

import hashlib
import io
import marshal
import pickle
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import joblib
import pytest
import torch

from stages.lib import third_party
from stages.lib.errors import InputError
from stages.lib.third_party import read_third_party

WEIGHTS = {"conv.weight": torch.arange(8.0).reshape(2, 4)}


@dataclass(frozen=True)
class Place:
    """Where a payload shall make its mark, and a folder for what else it needs."""

    marker: Path
    folder: Path

    @property
    def code(self) -> str:
        return f"__import__('os').mkdir({str(self.marker)!r})"

    @property
    def shell(self) -> str:
        return f"mkdir '{self.marker}'"


def literal(value: object, protocol: int = 2) -> bytes:
    """Return the opcodes that push a plain value."""
    opcodes = pickle.dumps(value, protocol)
    return opcodes[2 if protocol >= 2 else 0 : -1]


def named(path: str) -> bytes:
    module, _, name = path.rpartition(".")
    return f"c{module}\n{name}\n".encode()


def call(path: str, *arguments: object) -> bytes:
    """GLOBAL, the arguments, REDUCE."""
    return named(path) + literal(arguments) + b"R"


def stacked(module: str, name: str, *arguments: object) -> bytes:
    """Protocol 4's STACK_GLOBAL, which may walk dotted names."""
    return b"".join(b"X" + struct.pack("<I", len(text)) + text.encode() for text in (module, name)) + (
        b"\x93" + literal(arguments) + b"R"
    )


def mapped(path: str, argument: str, by: str) -> bytes:
    """Build `by` from map(path, [argument]): the call happens inside NEWOBJ, no REDUCE in sight."""
    lazily = named("builtins.map") + b"(" + named(path) + literal([argument]) + b"t\x81"
    return named(by) + lazily + b"\x85"


def bare(opcodes: bytes, protocol: int = 2) -> bytes:
    return (b"\x80" + bytes([protocol]) if protocol >= 2 else b"") + opcodes + b"."


def archive(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return content.getvalue()


def zipped(opcodes: bytes, protocol: int = 2) -> bytes:
    return archive({"archive/data.pkl": bare(opcodes, protocol), "archive/version": b"3\n"})


def altered(old: bytes, new: bytes) -> bytes:
    """Save honest weights and put other opcodes in the place of `old`."""
    saved = io.BytesIO()
    torch.save(WEIGHTS, saved)
    with zipfile.ZipFile(saved) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
    (where,) = (name for name in files if name.endswith("/data.pkl"))
    assert old in files[where]
    return archive(files | {where: files[where].replace(old, new)})


def behind_setstate(at: Place) -> bytes:
    """BUILD gives an allowed object a __setstate__ of its own, which the next BUILD calls."""
    state = b"}X\x0c\x00\x00\x00__setstate__" + named("os.system") + b"s"
    return zipped(named("collections.OrderedDict") + b")\x81" + state + b"b" + literal(at.shell) + b"b")


def from_marshal(at: Place) -> bytes:
    """A function made of its code, as dill and cloudpickle write functions."""
    code = marshal.dumps(compile(at.code, "f", "eval"))
    function = named("types.FunctionType") + b"(" + call("marshal.loads", code) + b"}tR"
    return zipped(function + b")R", 4)


def legacy_tar(at: Place) -> bytes:
    """The oldest format of torch; weights_only did not hold there before torch 2.6 (CVE-2025-32434)."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as opened:
        for name in ("storages", "tensors", "pickle"):
            data = bare(call("os.mkdir", str(at.marker)))
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            opened.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def legacy_stream(at: Place) -> bytes:
    """torch's format before zip: magic number, version, facts of the system, then the object."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    return b"".join(pickle.dumps(part, 2) for part in head) + bare(call("os.mkdir", str(at.marker)))


def by_hub(at: Place) -> bytes:
    (at.folder / "hubconf.py").write_text(f"{at.code}\ndef net(): return {{}}\n")
    return zipped(call("torch.hub._load_local", str(at.folder), "net"))


def by_run_path(at: Place) -> bytes:
    (at.folder / "script.py").write_text(at.code)
    return zipped(call("runpy.run_path", str(at.folder / "script.py")))


def through_joblib(at: Place) -> bytes:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, (at.code,)

    joblib.dump(Bomb(), at.folder / "bomb", compress=3)
    return (at.folder / "bomb").read_bytes()


def with_flag_bits(at: Place) -> bytes:
    """Mark every entry as encrypted: some readers then skip it, others read on."""
    content = bytearray(zipped(call("os.mkdir", str(at.marker))))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(signature)
        while start >= 0:
            content[start + offset] |= 1
            start = content.find(signature, start + 1)
    return bytes(content)


def with_wrong_crc(at: Place) -> bytes:
    content = bytearray(zipped(call("os.mkdir", str(at.marker))))
    for signature, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        content[content.find(signature) + offset] ^= 0xFF
    return bytes(content)


def unguarded(path: Path) -> None:
    torch.load(path, map_location="cpu", weights_only=False)


STORAGE = b"ctorch\nFloatStorage\n"
NUMPY_EXEC = "numpy.testing._private.utils.runstring"

LIVE: dict[str, Callable[[Place], bytes]] = {
    "REDUCE os.system": lambda at: zipped(call("os.system", at.shell)),
    "protocol 0, GLOBAL": lambda at: bare(named("builtins.eval") + literal((at.code,), 0) + b"R", 0),
    "protocol 0 in a zip": lambda at: zipped(named("builtins.exec") + literal((at.code,), 0) + b"R", 0),
    "protocol 4, STACK_GLOBAL": lambda at: bare(stacked("builtins", "exec", at.code), 4),
    "dotted name through an honest module": lambda at: zipped(
        stacked("torch.serialization", "os.mkdir", str(at.marker)), 4
    ),
    "INST": lambda at: zipped(b"(" + literal(at.shell) + b"ios\nsystem\n"),
    "OBJ": lambda at: zipped(b"(" + named("os.mkdir") + literal(str(at.marker)) + b"o"),
    "NEWOBJ": lambda at: zipped(mapped("builtins.eval", at.code, "builtins.bytes") + b"\x81"),
    "NEWOBJ_EX": lambda at: zipped(mapped("builtins.eval", at.code, "builtins.tuple") + b"}\x92", 4),
    "BUILD and __setstate__": behind_setstate,
    "persistent id": lambda at: zipped(call("os.mkdir", str(at.marker)) + b"Q"),
    "a tensor's storage type": lambda at: altered(STORAGE, call("os.mkdir", str(at.marker))),
    "a tensor's device": lambda at: altered(literal("cpu")[:8], call("os.mkdir", str(at.marker))),
    "importlib and getattr": lambda at: zipped(
        named("builtins.getattr")
        + b"("
        + call("importlib.import_module", "os")
        + literal("mkdir")
        + b"tR"
        + literal((str(at.marker),))
        + b"R"
    ),
    "pkgutil.resolve_name": lambda at: zipped(
        call("pkgutil.resolve_name", "os:mkdir") + literal((str(at.marker),)) + b"R"
    ),
    "runpy, a file": by_run_path,
    "runpy, a string": lambda at: zipped(call("runpy._run_code", at.code, {})),
    "functools.partial": lambda at: zipped(
        named("functools.partial") + b"(" + named("os.mkdir") + literal(str(at.marker)) + b"tR)R"
    ),
    "timeit": lambda at: zipped(call("timeit.timeit", "pass", at.code)),
    "numpy's own exec": lambda at: zipped(call(NUMPY_EXEC, at.code, {})),
    "numpy's own eval": lambda at: zipped(call("numpy.f2py.crackfortran.myeval", at.code)),
    "torch's own exec": lambda at: zipped(
        call("torch.jit.unsupported_tensor_ops.execWrapper", at.code, {}, {})
    ),
    "torch's own shell": lambda at: zipped(call("torch.utils.collect_env.run", at.shell)),
    "torch.load nested": lambda at: zipped(
        call("torch.storage._load_from_bytes", zipped(call("os.mkdir", str(at.marker))))
    ),
    "torch.hub": by_hub,
    "code by marshal, as dill has it": from_marshal,
    "run and popped, honest weights after it": lambda at: zipped(
        call("os.mkdir", str(at.marker)) + b"0" + literal({"weight": 1.0})
    ),
    "run, then broken off": lambda at: zipped(call("os.mkdir", str(at.marker)) + b"\xff"),
    "legacy stream": legacy_stream,
    "legacy tar": legacy_tar,
    "wrong CRC": with_wrong_crc,
    "joblib, compressed": through_joblib,
}


DEAD: dict[str, Callable[[Place], bytes]] = {
    "pip.main": lambda at: zipped(call("pip.main", ["install", str(at.folder)])),
    "flag bits changed": with_flag_bits,
    "a pickle under another name": lambda at: archive(
        {"archive/model.pkl": bare(call("os.mkdir", str(at.marker))), "archive/version": b"3\n"}
    ),
    "a checkpoint in a zip": lambda at: archive({"inner.pth": zipped(call("os.mkdir", str(at.marker)))}),
    "a zip for a pickle": lambda at: archive(
        {"archive/data.pkl": zipped(call("os.mkdir", str(at.marker))), "archive/version": b"3\n"}
    ),
    "7z": lambda at: b"7z\xbc\xaf\x27\x1c" + bare(call("os.mkdir", str(at.marker))),
    "a storage from outside": lambda _: altered(literal("0")[:6], literal("../../../etc/passwd")),
    "a tensor larger than its storage": lambda _: altered(b"K\x02K\x04\x86", b"M\xff\xffK\x04\x86"),
}
"""Shapes that no unguarded reader opens as they stand, or that attack otherwise than by a call."""


def safetensors(header: str, data: bytes = bytes(8), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header.encode() + data


def one(name: str, start: int, end: int, shape: str = "[1]") -> str:
    return f'"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}'


SAFETENSORS = {
    "header of 2^62 bytes": safetensors("{" + one("a", 0, 4) + "}", length=1 << 62),
    "header longer than the file": safetensors("{" + one("a", 0, 4) + "}", length=10_000),
    "header nested too deep": safetensors('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
    "overlapping offsets": safetensors("{" + one("a", 0, 4) + "," + one("b", 0, 4) + "}", bytes(4)),
    "a hole": safetensors("{" + one("a", 4, 8) + "}"),
    "a junk tail": safetensors("{" + one("a", 0, 4) + "}", bytes(400)),
    "offsets beyond the file": safetensors("{" + one("a", 0, 1 << 40, f"[{1 << 38}]") + "}"),
    "a shape whose product overflows": safetensors("{" + one("a", 0, 8, f"[{1 << 62},8]") + "}"),
}


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_third_party(path, hashlib.sha256(content).hexdigest())
    return str(refused.value)


def reads_as_a_refusal(said: str, path: Path) -> bool:
    """Say whether it names the file and the reason in short, without torch's advice to open it anyhow."""
    strange = [word for word in ("Traceback", "weights_only", "trust", "\n", "\x1b") if word in said]
    return said.startswith(f"train.init_file: {path}: ") and len(said) < 400 and not strange


@pytest.fixture
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the child's work be done here: a process each costs seconds, and what ran would leave its mark."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        said = io.StringIO()
        monkeypatch.setattr(sys, "stderr", said)
        code = third_party.convert(Path(command[-2]), Path(command[-1]))
        return subprocess.CompletedProcess(command, code, "", said.getvalue())

    def begin() -> None:
        monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
        monkeypatch.setattr(subprocess, "run", run)

    return begin


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
@pytest.mark.parametrize("name", [*LIVE, *DEAD])
def test_W2_a_hostile_checkpoint_is_refused_by_name_and_nothing_in_it_runs(
    tmp_path: Path, in_one_process: Callable[[], None], name: str
) -> None:
    at = Place(tmp_path / "marker", tmp_path / "beside")
    at.folder.mkdir()
    content = (LIVE | DEAD)[name](at)
    in_one_process()
    said = refusal(tmp_path / "weights.pth", content)
    assert reads_as_a_refusal(said, tmp_path / "weights.pth"), said
    assert not at.marker.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("REDUCE os.system", "GLOBAL os.system whose module os is blocked"),
        ("pkgutil.resolve_name", "Unsupported global: GLOBAL pkgutil.resolve_name"),
        ("INST", "Unsupported operand 105"),
        ("a pickle under another name", "failed locating file data.pkl"),
        ("joblib, compressed", "neither safetensors nor a torch checkpoint"),
    ],
)
def test_a_refusal_names_what_it_met(
    tmp_path: Path, in_one_process: Callable[[], None], name: str, reason: str
) -> None:
    at = Place(tmp_path / "marker", tmp_path)
    content = (LIVE | DEAD)[name](at)
    in_one_process()
    assert reason in refusal(tmp_path / "weights.pth", content)


@pytest.mark.parametrize("name", LIVE)
@pytest.mark.filterwarnings("ignore")
def test_those_payloads_are_live_where_nothing_guards(tmp_path: Path, name: str) -> None:
    at = Place(tmp_path / "marker", tmp_path / "beside")
    at.folder.mkdir()
    (tmp_path / "weights.pth").write_bytes(LIVE[name](at))
    with suppress(Exception):  # what comes after the payload need not make sense
        (joblib.load if name.startswith("joblib") else unguarded)(tmp_path / "weights.pth")
    assert at.marker.exists()


@pytest.mark.parametrize("name", SAFETENSORS)
def test_W4_a_hostile_safetensors_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    said = refusal(tmp_path / "weights.safetensors", SAFETENSORS[name])
    assert reads_as_a_refusal(said, tmp_path / "weights.safetensors"), said
    assert "damaged safetensors" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LIVE, *DEAD][::5])
def test_W2_the_child_itself_refuses_and_says_why_in_a_line(tmp_path: Path, name: str) -> None:
    at = Place(tmp_path / "marker", tmp_path / "beside")
    at.folder.mkdir()
    said = refusal(tmp_path / "weights.pth", (LIVE | DEAD)[name](at))
    assert reads_as_a_refusal(said, tmp_path / "weights.pth"), said
    assert "Warning" not in said
    assert not at.marker.exists()
