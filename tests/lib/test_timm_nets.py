import hashlib
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stages.lib.counters import generator
from stages.lib.errors import InputError, MachineError
from stages.lib.fine_tuning import Tuning, depths, learning_scales
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import Normalisation
from stages.lib.starting_weights import start_body
from stages.lib.timm_nets import hub_weights, timm_body
from stages.lib.weights import Card, load_classifier, save_weights
from tests.prepared_data import bars_dataset
from tests.training_fixture import write_encoder

SMALL = Architecture(1, 32, (8, 16), 3, "timm:test_resnet")
PRIOR = torch.full((3,), -math.log(3))


def network(seed: int = 0) -> Classifier:
    return new_classifier(SMALL, PRIOR, generator(torch.device("cpu"), seed))


def test_a_net_of_timms_predicts_the_prior_and_is_drawn_from_the_generator() -> None:
    net = network().eval()
    images = torch.randn(2, 1, 32, 32)
    assert torch.allclose(net(images).softmax(1), torch.full((2, 3), 1 / 3), atol=0.05)
    one, two, other = (list(network(seed).parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_its_layers_are_timms_own_from_the_stem_on() -> None:
    net = network()
    depth = depths(net)
    assert depth["body.conv1.0.weight" if "body.conv1.0.weight" in depth else "body.conv1.weight"] == 0
    assert depth["head.weight"] == max(depth.values())
    assert len({at for name, at in depth.items() if name.startswith("body.layer")}) >= 4
    scales = learning_scales(net, Tuning(layer_decay=0.5))
    assert scales["head.weight"] == 1.0
    assert min(scales.values()) == 0.5 ** max(depth.values())


def test_it_is_written_and_rebuilt_from_its_card(tmp_path: Path) -> None:
    net = network().eval()
    card = Card("classifier", SMALL, ("a", "b", "c"), Normalisation((0.5,), (0.2,)), {})
    save_weights(tmp_path / "model.safetensors", net.state_dict(), card)
    again, told, _ = load_classifier(tmp_path / "model.safetensors", ("a", "b", "c"))
    assert told.architecture == SMALL
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(again(images), net(images))


@pytest.mark.parametrize(
    ("name", "said"), [("no_such_net", "timm has no net"), ("vgg11", "cannot take images")]
)
def test_a_net_that_is_unknown_or_too_large_for_the_images_is_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        timm_body(name, 1, 8)


def test_drop_path_reaches_a_net_that_skips_blocks_and_others_refuse_it() -> None:
    def two_passes(drop_path: float) -> list[torch.Tensor]:
        torch.manual_seed(0)
        body, _ = timm_body("test_vit", 1, 32, drop_path)
        images = torch.randn(8, 1, 32, 32)
        return [body.train()(images) for _ in range(2)]

    assert torch.equal(*two_passes(0.0))
    assert not torch.equal(*two_passes(0.5))
    with pytest.raises(InputError, match=r"vgg11 does not take .*drop_path"):
        timm_body("vgg11", 1, 32, 0.5)


def test_hub_weights_that_cannot_be_fetched_are_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError, match=r"cannot be fetched.*init: file"):
        hub_weights("test_resnet", 3, 32)


def test_a_colour_checkpoint_with_another_head_fills_a_grey_body_and_says_so(tmp_path: Path) -> None:
    dataset = bars_dataset(30, side=32)
    encoder = write_encoder(tmp_path / "encoder.safetensors", dataset)
    body, features = timm_body("test_resnet", 3, 32)
    theirs = {f"module.{name}": tensor for name, tensor in body.state_dict().items()}
    save_file(theirs | {"module.fc.weight": torch.zeros(1000, features)}, tmp_path / "theirs.pth")
    pin = hashlib.sha256((tmp_path / "theirs.pth").read_bytes()).hexdigest()
    net = network()
    start = start_body(net.body, SMALL, "file", encoder, str(tmp_path / "theirs.pth"), pin)
    assert start.facts["unused"] == ["module.fc.weight"]
    assert start.facts["missing"] == []
    assert start.facts["prefix"] == "module."
    assert len(start.facts["adapted"]) == 1
    assert start.parents == {"init_file": pin}
    same = [
        torch.equal(tensor, body.state_dict()[name])
        for name, tensor in net.body.state_dict().items()
        if name not in start.facts["adapted"]
    ]
    assert all(same)


@pytest.mark.parametrize(("name", "init"), [("timm:test_resnet", "pretrain"), ("residual", "timm")])
def test_a_network_and_weights_that_do_not_go_together_are_refused(
    tmp_path: Path, name: str, init: str
) -> None:
    dataset = bars_dataset(30)
    encoder = write_encoder(tmp_path / "encoder.safetensors", dataset)
    shape = Architecture(1, 8, (8, 16), 3, name)
    with pytest.raises(InputError, match=r"train\.init"):
        start_body(torch.nn.Module(), shape, init, encoder, "", "")  # type: ignore[arg-type]
