"""Digests are DVC's own, and a missing input is told as such."""

import hashlib
import json
from pathlib import Path

import pytest

from stages.lib.errors import InputError
from stages.lib.provenance import Inputs, digest, key_of_lock_entry


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def test_a_folders_digest_is_the_md5_of_its_sorted_listing(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / ".gitignore").write_bytes(b"not data")
    (tmp_path / "photos.dvc").write_bytes(b"3")
    listing = [{"md5": md5(b"2"), "relpath": "a"}, {"md5": md5(b"1"), "relpath": "b/x"}]
    listing.append({"md5": md5(b"3"), "relpath": "photos.dvc"})
    assert digest(tmp_path) == md5(json.dumps(listing, sort_keys=True).encode()) + ".dir"


def test_a_missing_input_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there: `make repro`"):
        digest(tmp_path / "nothing")


def test_the_key_changes_with_each_of_command_params_and_inputs_and_not_with_their_order() -> None:
    base = Inputs("run", {"a.b": 1, "a.c": 2}, {"x": "0", "y": "1"})
    assert Inputs("run", {"a.c": 2, "a.b": 1}, {"y": "1", "x": "0"}).key() == base.key()
    others = [Inputs("other", base.params, base.digests), Inputs("run", {"a.b": 2, "a.c": 2}, base.digests)]
    others.append(Inputs("run", base.params, {"x": "0", "y": "2"}))
    assert len({base.key(), *(other.key() for other in others)}) == 4


def test_a_lock_entry_gives_the_key_of_the_run_that_made_it() -> None:
    entry = {
        "cmd": "run",
        "deps": [{"path": "x", "hash": "md5", "md5": "0", "size": 1}],
        "params": {"params.yaml": {"a.b": 1}},
        "outs": [{"path": "z", "md5": "9"}],
    }
    assert key_of_lock_entry(entry) == Inputs("run", {"a.b": 1}, {"x": "0"}).key()
