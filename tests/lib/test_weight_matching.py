import pytest
import torch

from stages.lib.errors import InputError
from stages.lib.nets import Body
from stages.lib.weight_matching import best_prefix, match_weights


def body(channels: int = 1) -> Body:
    torch.manual_seed(channels)
    return Body(channels, (8, 16))


@pytest.mark.parametrize("prefix", ["", "module.", "model.body.", "module.encoder.net."])
def test_a_prefix_is_found_and_heads_are_listed_as_unused(prefix: str) -> None:
    theirs = {prefix + name: tensor for name, tensor in body().state_dict().items()}
    theirs |= {prefix + "fc.weight": torch.zeros(1000, 16), "epoch": torch.zeros(1)}
    found = match_weights("w", theirs, body())
    assert found.prefix == prefix
    assert found.missing == found.other_shape == found.adapted == ()
    assert set(found.unused) == {prefix + "fc.weight", "epoch"}
    for name, tensor in body().state_dict().items():
        assert torch.equal(found.tensors[name], tensor)
    assert found.facts()["n_matched"] == len(body().state_dict())


def test_what_is_missing_or_of_another_shape_is_listed_and_left_as_it_was() -> None:
    theirs = dict(body().state_dict())
    del theirs["stem_norm.bias"]
    theirs["blocks.0.norm1.weight"] = torch.zeros(3)
    found = match_weights("w", theirs, body())
    assert found.missing == ("stem_norm.bias",)
    assert found.other_shape == ("blocks.0.norm1.weight (3,), expected (8,)",)
    assert not {"stem_norm.bias", "blocks.0.norm1.weight"} & set(found.tensors)


def test_W5_a_file_of_another_network_is_refused_with_names() -> None:
    with pytest.raises(
        InputError, match=r"only 0 of the network's \d+ numbers .*It lacks blocks\.0.*it has layer1"
    ):
        match_weights("w", {"layer1.weight": torch.zeros(2)}, body())


def test_a_first_kernel_for_colour_sees_grey_as_it_saw_grey_in_colour() -> None:
    theirs, grey = body(3), body(1)
    found = match_weights("w", theirs.state_dict(), grey)
    assert found.adapted == ("stem.weight",)
    grey.load_state_dict(found.tensors)
    images = torch.rand(2, 1, 8, 8)
    assert torch.allclose(grey(images), theirs(images.expand(2, 3, 8, 8)), atol=1e-5)
    back = match_weights("w", body(1).state_dict(), body(3)).tensors["stem.weight"]
    assert torch.allclose(back.sum(1), body(1).state_dict()["stem.weight"][:, 0], atol=1e-6)


def test_without_any_match_nothing_is_cut_off() -> None:
    assert best_prefix(["a.b", "c"], ["x"]) == ""
