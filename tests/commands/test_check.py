"""What would fail later is refused at once, all faults in one message."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from stages.commands.check import check, param_faults
from stages.lib.config import read_params
from stages.lib.errors import InputError

ROOT = Path(__file__).parent.parent.parent
PARAMS = read_params(ROOT / "params.yaml")


def test_P1_an_unknown_section_is_named_with_its_nearest() -> None:
    assert param_faults(PARAMS | {"trian": {}}) == ["  trian: unknown section; did you mean 'train'?"]


def test_every_fault_is_listed_in_one_message(tmp_path: Path) -> None:
    broken = PARAMS | {"train": PARAMS["train"] | {"seeds": "x", "learing": 1}}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(broken))
    with pytest.raises(InputError, match=r"2 fault\(s\)") as refused:
        check(path, tmp_path)
    assert "train.seeds" in str(refused.value)
    assert "train.learing" in str(refused.value)


def test_P1_the_command_refuses_in_under_two_seconds_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump(PARAMS | {"train": PARAMS["train"] | {"sedes": [1]}})
    )
    started = time.monotonic()
    command = [sys.executable, "-m", "stages.commands.main", "check"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert time.monotonic() - started < 5.0, "2 s on an idle machine; tests share it"
    assert done.returncode == 2
    assert "train.sedes: unknown key; did you mean 'seeds'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("key", ["train", "distill"])
def test_P7_a_section_that_is_missing_or_null_is_named(key: str) -> None:
    without = {name: section for name, section in PARAMS.items() if name != key}
    assert param_faults(without) == [f"  {key}: the section is missing"]
    assert "expected keys and values, received null" in param_faults(without | {key: None})[0]


def test_I25_a_fifo_under_raw_is_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match=r"pipe\.jpg'?: neither a file nor a folder"):
        check(ROOT / "params.yaml", tmp_path)


def test_I21_a_name_that_is_not_utf8_is_named_before_dvc_dies_of_it(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.jpg"), "w"):
        pass
    with pytest.raises(InputError, match="not UTF-8"):
        check(ROOT / "params.yaml", tmp_path)


def test_I24_a_dangling_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(InputError, match="leads nowhere"):
        check(ROOT / "params.yaml", tmp_path)
