"""What would fail later is refused at once, all faults in one message."""

import copy
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages import train
from stages.commands.check import check, param_faults
from stages.commands.check_training import recipe_faults, searched_networks
from stages.commands.main import main
from stages.lib.config import parse_section, read_params
from stages.lib.errors import InputError
from stages.lib.payload import sha256_of
from stages.lib.search_space import Drawn
from tests.prepared_data import bars_dataset
from tests.training_fixture import write_encoder, write_members

LITTLE = "0" * 64
"""No file's hash."""

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


def children_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_P1_the_command_refuses_in_under_two_seconds_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump(PARAMS | {"train": PARAMS["train"] | {"sedes": [1]}})
    )
    before = children_cpu_seconds()
    command = [sys.executable, "-m", "stages.commands.main", "check"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert children_cpu_seconds() - before < 2.0
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


def answer(
    tmp_path: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> str:
    """Return what `assay check` says of params with other values for dotted keys."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(changed(changes)))
    patch.chdir(tmp_path)
    patch.setattr(sys, "argv", ["assay", "check"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code == 0) == ("are in order" in said.out)
    return said.err.removeprefix("assay: ")


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    raw = copy.deepcopy(PARAMS)
    for key, value in changes.items():
        *groups, last = key.split(".")
        place = raw
        for group in groups:
            place = place[group]
        place[last] = value
    return raw


DEEP = [8, 8, 8, 8, 8]
GIVEN = {"train.init": "file", "train.init_sha256": LITTLE}
TAUGHT = {"distill.teacher": "file", "distill.teacher_sha256": LITTLE}
SCRATCH = {"train.init": "random"}
HINTS = {"distill.hint_weight": 1.0, "distill.hint_depth": 3}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"distill.widths": DEEP}, "  distill.widths: [8, 8, 8, 8, 8] are 5 stages, each halving the image"),
        ({"train.widths": DEEP}, "  train.widths: [8, 8, 8, 8, 8] are 5 stages, each halving the image"),
        ({"train.widths": DEEP}, "ingest.image_size gives 8: list 4 at most, or raise the image size"),
        ({"train.widths": DEEP, "ingest.image_size": 16}, ""),
        ({"train.network": "whitened", "train.init": "random", "train.widths": [8] * 3}, "9 pixels at least"),
        (
            {"label_noise.model": "network", "label_noise.widths": [8] * 3},
            "  label_noise.widths: [8, 8, 8] are",
        ),
        (
            {"label_noise.model": "network", "label_noise.widths": [12]},
            "positive multiple of 8; received [12]",
        ),
        ({"label_noise.widths": [8] * 3}, ""),
        (HINTS, "  distill.hint_depth: the student has 2 depths; received 3: lower it, or hint_weight 0"),
        (GIVEN | {"train.init_file": "gone.pth"}, "  train.init_file: gone.pth cannot be read (No such file"),
        (GIVEN | {"train.init_file": "params.yaml"}, "train.init_sha256 says 0000"),
        (
            TAUGHT | {"distill.teacher_file": "gone"},
            "  distill.teacher_file: gone cannot be read (No such file",
        ),
        (
            TAUGHT | {"distill.teacher_file": "params.yaml"},
            "  distill.teacher_file: params.yaml: not a safetens",
        ),
        ({"ablate.ingredients": ["pretraining"], "train.init": "random"}, "train does without pretraining"),
        ({"ablate.ingredients": ["augmentation"], "train.seeds": [0]}, "one seed tells nothing"),
        ({"train.seeds": [0]}, ""),
        ({"tune.space": {"train.dropuot": {"low": 0.0, "high": 0.5}}}, "did you mean 'train.dropout'"),
        (
            {"ablate.ingredients": [{"name": "far", "set": SCRATCH | {"train.network": "timm:resnet19"}}]},
            "ablate.ingredients, far: train.network: timm has no net 'resnet19'",
        ),
        (
            SCRATCH | {"tune.space": {"train.network": {"choices": ["residual", "timm:resnet19"]}}},
            "tune.space.train.network: train.network: timm has no net 'resnet19'; did you mean 'resnet18'",
        ),
        (
            {"train.network": "timm:resnet19", "train.init": "random"},
            "train.network: timm has no net 'resnet19'",
        ),
        ({"distill.network": "timm:resnet19"}, "distill.network: timm has no net 'resnet19'; did you mean"),
    ],
)
def test_what_can_be_found_before_any_stage_is_found_by_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    told: str,
) -> None:
    said = answer(tmp_path, monkeypatch, capsys, changes)
    assert told in said
    assert bool(told) == bool(said)
    assert not said or "1 fault(s)" in said


def test_a_teacher_is_asked_what_it_is_and_for_which_images_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = bars_dataset(60)
    write_encoder(tmp_path / "encoder.safetensors", dataset)
    file = write_members(tmp_path / "members", dataset) / "seed0" / "model.safetensors"
    pin = {"distill.teacher": "file", "distill.teacher_sha256": sha256_of(file)}
    teacher = pin | {"distill.teacher_file": str(file)}
    encoder = pin | {"distill.teacher_file": "encoder.safetensors"}
    assert answer(tmp_path, monkeypatch, capsys, teacher) == ""
    larger = answer(tmp_path, monkeypatch, capsys, teacher | {"ingest.image_size": 16})
    assert "made for images of 8 pixels, ingest.image_size is 16" in larger
    assert "its kind is encoder, expected classifier" in answer(tmp_path, monkeypatch, capsys, encoder)


def test_the_chain_does_not_stop_for_a_search() -> None:
    raw = changed({"train.learning_rate": 0.9})
    assert param_faults(raw) == []
    assert "it is the first trial" in param_faults(raw, searching=True)[0]


def test_widths_that_a_search_may_choose_are_held_against_the_images() -> None:
    start, _ = parse_section(train.Params, "train", changed(SCRATCH))
    assert start is not None
    space = {"train.widths": Drawn(choices=((24, 48, 96), (8,) * 5))}
    (fault,) = recipe_faults(start, searched_networks(space), 8)
    assert fault.startswith("  tune.space.train.widths: train.widths: [8, 8, 8, 8, 8] are 5 stages")
    assert recipe_faults(start, searched_networks(space), 16) == []
