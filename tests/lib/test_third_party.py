import hashlib
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stages.lib.errors import InputError
from stages.lib.pinned_file import MOST_BYTES
from stages.lib.third_party import chosen_set, read_third_party, unpickled

WEIGHTS = {"module.conv.weight": torch.arange(8.0).reshape(2, 4), "module.conv.bias": torch.ones(2)}


def pin(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.canary),)


def test_safetensors_are_read_as_they_are_whatever_their_name(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "weights.pth")
    found = read_third_party(tmp_path / "weights.pth", pin(tmp_path / "weights.pth")).tensors
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in WEIGHTS.items()
    }


def test_a_training_scripts_checkpoint_is_read_and_its_weights_found(tmp_path: Path) -> None:
    last = {name: tensor - 1 for name, tensor in WEIGHTS.items()}
    nested = {"epoch": 3, "state_dict": last, "optimizer": {"lr": torch.tensor(0.1)}}
    nested["state_dict_ema"] = OrderedDict(WEIGHTS)
    torch.save(nested, tmp_path / "model.th")
    found = read_third_party(tmp_path / "model.th", pin(tmp_path / "model.th"))
    assert torch.equal(found.tensors["module.conv.weight"], WEIGHTS["module.conv.weight"])
    assert set(found.tensors) == set(WEIGHTS)
    assert found.facts() == {"taken": "state_dict_ema", "left": ["state_dict"]}


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema"])
def test_the_running_mean_is_preferred_to_the_last_step_as_timm_does_and_is_named(key: str) -> None:
    mean = {name: tensor + 1 for name, tensor in WEIGHTS.items()}
    for value in (
        {"state_dict": WEIGHTS, key: mean},
        {key: mean, "model": WEIGHTS | {"loss": torch.ones(3)}},
    ):
        found = chosen_set(value)
        assert found.tensors == mean
        assert found.taken == key
        assert len(found.left) == 1


def test_a_running_mean_of_a_small_part_is_not_taken_for_the_network() -> None:
    found = chosen_set({"model": {"a": torch.zeros(9)}, "model_ema": {"temperature": torch.zeros(1)}})
    assert found.facts() == {"taken": "model", "left": []}


def test_of_other_sets_the_largest_is_taken_and_its_place_is_named() -> None:
    value = {"ema": {"a": torch.zeros(2)}, "model": {"net": {"a": torch.zeros(3), "b": 1}}, "n": 3}
    found = chosen_set(value)
    assert {name: len(tensor) for name, tensor in found.tensors.items()} == {"a": 3}
    assert found.facts() == {"taken": "model.net", "left": ["ema"]}
    assert chosen_set([1, 2]).tensors == {}
    assert chosen_set({"w": torch.zeros(2)}).taken == ""


@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_W1_a_malicious_pickle_is_refused_and_never_runs(tmp_path: Path, form: str) -> None:
    bomb, path = {"state_dict": Bomb(tmp_path / "canary")}, tmp_path / "evil.safetensors"
    if form == "torch":
        torch.save(bomb, path)
    else:
        path.write_bytes(pickle.dumps(bomb, protocol=2))
    with pytest.raises(ValueError, match="Unpickl"):
        unpickled(path)
    if form == "torch":  # once through the child that reads in earnest: it starts a torch of its own
        with pytest.raises(InputError, match="refused: it is damaged or holds more than tensors"):
            read_third_party(path, pin(path))
    assert not (tmp_path / "canary").exists()


def test_a_small_file_that_would_unfold_into_a_huge_one_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(1_000_000)}, tmp_path / "bomb.pth")
    assert (tmp_path / "bomb.pth").stat().st_size < 10_000
    with pytest.raises(InputError, match="refused"):
        read_third_party(tmp_path / "bomb.pth", pin(tmp_path / "bomb.pth"))


def test_W2_a_zip_that_is_no_checkpoint_and_a_cut_one_are_refused(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for length in (4, 30, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="Error"):
            unpickled(tmp_path / "cut")


@pytest.mark.filterwarnings("ignore:.*TorchScript")
def test_W3_torchscript_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as file:  # as torch.jit.save leaves it
        file.writestr("script/constants.pkl", pickle.dumps(()))
        file.writestr("script/data.pkl", pickle.dumps(OrderedDict(WEIGHTS)))
        file.writestr("script/code/__torch__.py", "def forward(self): pass")
        file.writestr("script/version", "3\n")
    with pytest.raises(ValueError, match="Error"):
        unpickled(tmp_path / "script.pt")


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89HDF\r\n\x1a\n", b"8\0\0\0\0\0\0\0{broken"])
def test_W4_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(InputError, match=r"neither safetensors|damaged safetensors"):
        read_third_party(tmp_path / "w", pin(tmp_path / "w"))


def test_W9_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w")
    chosen = pin(tmp_path / "w")
    save_file({name: tensor + 1 for name, tensor in WEIGHTS.items()}, tmp_path / "w")
    with pytest.raises(InputError, match="it is not the file that was chosen"):
        read_third_party(tmp_path / "w", chosen)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_third_party(tmp_path / "none", "0" * 64)


def test_a_file_that_is_too_large_is_told_so_and_not_asked_for_its_hash(tmp_path: Path) -> None:
    with (tmp_path / "w").open("wb") as sparse:
        sparse.truncate(MOST_BYTES + 1)
    with pytest.raises(InputError, match=r"^train\.init_file: .*w is too large: it has 8,589,934,593 bytes"):
        read_third_party(tmp_path / "w", "0" * 64)


def test_a_checkpoint_without_names_is_told_so_and_not_called_dangerous(tmp_path: Path) -> None:
    torch.save(list(WEIGHTS.values()), tmp_path / "list.pth")
    with pytest.raises(InputError, match=r"^train\.init_file: .*no tensors by name.*state_dict") as refused:
        read_third_party(tmp_path / "list.pth", pin(tmp_path / "list.pth"))
    assert "damaged" not in str(refused.value)
