import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from stages.lib.counters import generator
from stages.lib.errors import InputError
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import Normalisation
from stages.lib.weights import CARD, Card, check_pixels, load_classifier, load_encoder, save_weights

SHAPE = Architecture(1, 8, (8, 16), 2)
CLASSES = ("cat", "=1+1 <b>")
THIS_CARD = Card("classifier", SHAPE, CLASSES, Normalisation((0.25,), (0.5,)), {"encoder": "ab"})


def network() -> Classifier:
    return new_classifier(SHAPE, torch.zeros(2), generator(torch.device("cpu"), "weights"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_weights(path, network().state_dict(), THIS_CARD)
    return path


def rewrite(path: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors and keep the card."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    tensors = load(content)
    edit(tensors)
    path.write_bytes(save(tensors, metadata))


def recard(path: Path, **changes: object) -> None:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    facts = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][CARD]) | changes
    path.write_bytes(save(load(content), {CARD: json.dumps(facts)}))


def test_what_is_written_is_read_back_with_its_card_and_hash(file: Path) -> None:
    loaded, card, sha256 = load_classifier(file, CLASSES)
    assert all(torch.equal(a, network().state_dict()[name]) for name, a in loaded.state_dict().items())
    assert not loaded.training
    assert card == THIS_CARD
    done = subprocess.run(["sha256sum", str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == sha256


def test_the_same_weights_are_the_same_bytes_in_every_process(file: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; import tests.lib.test_weights as t; "
        f"t.save_weights(Path({str(tmp_path / 'again')!r}), t.network().state_dict(), t.THIS_CARD)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


class Canary:
    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.touched,))


def test_w1_a_pickle_named_safetensors_is_refused_and_never_runs(tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(InputError, match="only safetensors is read, never pickle"):
        load_classifier(path, CLASSES)
    torch.save({"w": Canary(canary)}, path)
    with pytest.raises(InputError, match="not a safetensors file"):
        load_classifier(path, CLASSES)
    assert not canary.exists()


def test_w4_a_file_cut_at_any_length_or_with_a_tail_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for length in [*range(64), *range(64, len(content), 997), len(content) - 1]:
        file.write_bytes(content[:length])
        with pytest.raises(InputError):
            load_classifier(file, CLASSES)
    file.write_bytes(content + b"tail")
    with pytest.raises(InputError, match="damaged"):
        load_classifier(file, CLASSES)


@pytest.mark.parametrize("header", [b"[" * 100_000, b"{}", b'{"__metadata__": 3}', b"\xff\xfe{}", b"null"])
def test_w4_a_hostile_header_is_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InputError):
        load_classifier(path, CLASSES)
    path.write_bytes((2**62).to_bytes(8, "little") + header)
    with pytest.raises(InputError, match="not a safetensors file"):
        load_classifier(path, CLASSES)


def test_w5_missing_and_unexpected_tensors_are_listed(file: Path) -> None:
    rewrite(file, lambda tensors: tensors.pop("head.bias"))
    with pytest.raises(InputError, match=r"is missing 1 tensors: head\.bias;"):
        load_classifier(file, CLASSES)
    rewrite(file, lambda tensors: tensors.update({"head.bias": torch.zeros(2), "extra": torch.zeros(1)}))
    with pytest.raises(InputError, match="has unexpected 1 tensors: extra;"):
        load_classifier(file, CLASSES)


def test_w5_a_long_list_of_missing_tensors_is_cut(file: Path) -> None:
    rewrite(file, lambda tensors: [tensors.pop(name) for name in list(tensors)[:-1]])
    with pytest.raises(InputError, match=r"is missing \d+ tensors: ") as caught:
        load_classifier(file, CLASSES)
    assert str(caught.value).count("body.") <= 20


def test_w5_another_shape_is_refused(file: Path) -> None:
    rewrite(file, lambda tensors: tensors.update({"head.bias": torch.zeros(3)}))
    with pytest.raises(InputError, match=r"tensor head\.bias's shape is \(3,\), expected \(2,\)"):
        load_classifier(file, CLASSES)


def test_w6_nan_weights_are_refused_with_their_number(file: Path) -> None:
    rewrite(file, lambda tensors: tensors["head.weight"].view(-1)[:3].fill_(float("nan")))
    with pytest.raises(InputError, match=r"head\.weight holds 3 NaN or infinite numbers of 32"):
        load_classifier(file, CLASSES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_w7_another_dtype_is_refused_instead_of_cast(file: Path, dtype: torch.dtype) -> None:
    rewrite(file, lambda tensors: tensors.update({"head.bias": tensors["head.bias"].to(dtype)}))
    with pytest.raises(InputError, match=f"dtype is {dtype}, expected torch.float32"):
        load_classifier(file, CLASSES)


def test_w8_other_classes_or_another_order_are_refused(file: Path) -> None:
    for classes in (("cat",), ("=1+1 <b>", "cat"), ("cat", "dog")):
        with pytest.raises(InputError, match="its classes is"):
            load_classifier(file, classes)


def test_w8_another_image_size_or_other_channels_are_refused(file: Path) -> None:
    check_pixels(file, THIS_CARD, (5, 8, 8, 1))
    for shape in ((5, 16, 16, 1), (5, 8, 8, 3)):
        with pytest.raises(InputError, match="image size and channels"):
            check_pixels(file, THIS_CARD, shape)


def test_w8_a_card_that_does_not_say_what_the_network_is_is_refused(file: Path) -> None:
    content = file.read_bytes()
    for changes in (
        {"format": "other"},
        {"architecture": {}},
        {"normalisation": {"mean": [0.1]}},
        {"classes": 3},
    ):
        file.write_bytes(content)
        recard(file, **changes)
        with pytest.raises(InputError, match="metadata do not say"):
            load_classifier(file, CLASSES)


def test_an_encoder_is_no_classifier_and_fits_only_its_own_widths(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    card = replace(THIS_CARD, kind="encoder", parents={})
    save_weights(path, network().body.state_dict(), card)
    tensors, found, _ = load_encoder(path, SHAPE)
    assert set(tensors) == set(network().body.state_dict())
    assert found == card
    with pytest.raises(InputError, match="kind is encoder, expected classifier"):
        load_classifier(path, CLASSES)
    with pytest.raises(
        InputError, match=r"architecture is .*'widths': \[8, 16\].*expected .*'widths': \[8, 24\]"
    ):
        load_encoder(path, replace(SHAPE, widths=(8, 24)))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such weights file: .*run `dvc repro`"):
        load_classifier(tmp_path / "none.safetensors", CLASSES)


def test_w8_a_network_with_more_outputs_than_its_card_names_classes_is_refused(tmp_path: Path) -> None:
    shape = replace(SHAPE, n_classes=3)
    wider = new_classifier(shape, torch.zeros(3), generator(torch.device("cpu"), "wider"))
    path = tmp_path / "model.safetensors"
    save_weights(path, wider.state_dict(), replace(THIS_CARD, architecture=shape))
    with pytest.raises(InputError, match="number of classes is 3, expected 2"):
        load_classifier(path, CLASSES)
