import errno
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from stages.lib.checkpoint import ABANDONED_KEPT, CheckpointStore
from stages.lib.errors import InputError, MachineError


def saved(folder: Path, epochs: int = 3, key: str = "mine") -> CheckpointStore:
    store = CheckpointStore(folder, key)
    for epoch in range(1, epochs + 1):
        store.save(epoch, {"w": torch.full((4,), float(epoch))}, {"epoch": epoch})
    return store


def test_the_newest_is_read_back_and_two_are_kept(tmp_path: Path) -> None:
    loaded = saved(tmp_path).load_newest()
    assert loaded is not None
    assert torch.equal(loaded[0]["w"], torch.full((4,), 3.0))
    assert loaded[1] == {"epoch": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-000002", "epoch-000003"]


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none", "k").load_newest() is None


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": flip,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "MANIFEST.sha256"])
def test_f7_a_damaged_newest_falls_back_to_the_one_before(
    tmp_path: Path, file: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = saved(tmp_path)
    DAMAGES[damage](tmp_path / "epoch-000003" / file)
    loaded = store.load_newest()
    assert loaded is not None
    assert loaded[1] == {"epoch": 2}
    assert "epoch-000003 is damaged" in capsys.readouterr().err


def test_f7_when_all_are_damaged_the_run_starts_anew(tmp_path: Path) -> None:
    store = saved(tmp_path)
    for generation in tmp_path.iterdir():
        flip(generation / "state.json")
    assert store.load_newest() is None


def test_f6_what_a_kill_left_half_written_is_never_read_and_goes_with_the_next_save(tmp_path: Path) -> None:
    store = saved(tmp_path)
    half = tmp_path / ".tmp-4"
    half.mkdir()
    (half / "tensors.safetensors").write_bytes(b"half")
    loaded = store.load_newest()
    assert loaded is not None
    assert loaded[1] == {"epoch": 3}
    store.save(4, {"w": torch.zeros(1)}, {"epoch": 4})
    assert not half.exists()


def test_f8_a_checkpoint_of_other_inputs_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, key="theirs")
    with pytest.raises(InputError, match=r"belongs to other inputs .*remove .* to start anew"):
        CheckpointStore(tmp_path, "mine").load_newest()


def test_checkpoints_do_not_grow_without_bound(tmp_path: Path) -> None:
    for number in range(5):
        saved(tmp_path / f"key{number}", key=f"key{number}")
    CheckpointStore(tmp_path / "key0", "key0").retire()
    left = [path.name for path in tmp_path.iterdir()]
    assert "key0" not in left
    assert len(left) == ABANDONED_KEPT


def test_retiring_what_was_never_saved_is_quiet(tmp_path: Path) -> None:
    CheckpointStore(tmp_path / "a" / "b", "k").retire()
    assert not (tmp_path / "a").exists()


def test_f12_a_disk_that_is_full_at_any_write_leaves_the_last_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(tmp_path / "k", "k")
    store.save(1, {"a": torch.zeros(2)}, {"epoch": 1})
    calls: list[int] = []
    fsync = os.fsync

    def full(descriptor: int, at: int) -> None:
        calls.append(descriptor)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    for at in (1, 2, 3):  # the tensors, the facts, the manifest
        calls.clear()
        monkeypatch.setattr(os, "fsync", partial(full, at=at))
        with pytest.raises(
            MachineError, match=r"epoch-000002: no space left to write it \([\d,]+ bytes are free"
        ):
            store.save(2, {"a": torch.ones(2)}, {"epoch": 2})
        found = store.load_newest()
        assert found is not None
        assert found[1] == {"epoch": 1}
        assert [path.name for path in store.folder.iterdir()] == ["epoch-000001"]
    monkeypatch.undo()
    store.save(2, {"a": torch.ones(2)}, {"epoch": 2})
    assert store.load_newest() is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_f12_a_disk_that_is_really_full_is_one_message(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        store = CheckpointStore(small / "k", "k")
        store.save(1, {"a": torch.zeros(1000)}, {"epoch": 1})
        with pytest.raises(MachineError, match="no space left"):
            store.save(2, {"a": torch.zeros(100_000)}, {"epoch": 2})
        found = store.load_newest()
        assert found is not None
        assert found[1] == {"epoch": 1}
    finally:
        subprocess.run(["umount", small], check=True)
