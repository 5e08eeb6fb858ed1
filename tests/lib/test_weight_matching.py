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
    n = len(body().state_dict())
    assert found.told() == (
        f"{n - 2} of the network's {n} tensors are in it; not in it: stem_norm.bias; "
        "of other shape: blocks.0.norm1.weight (3,), expected (8,)"
    )


def test_W5_a_file_of_another_network_is_refused_with_names() -> None:
    with pytest.raises(
        InputError, match=r"only 0 of the network's \d+ numbers .*It lacks blocks\.0.*it has layer1"
    ):
        match_weights("w", {"layer1.weight": torch.zeros(2)}, body())


def test_W6_nan_weights_are_refused_with_their_number() -> None:
    theirs = body().state_dict()
    theirs["stem_norm.bias"][:2] = torch.tensor([float("nan"), float("inf")])
    with pytest.raises(InputError, match=r"^w: tensor stem_norm\.bias holds 2 NaN or infinite numbers of 8"):
        match_weights("w", theirs, body())


@pytest.mark.parametrize("name", ["stem.weight", "blocks.1.conv2.weight"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int32, torch.bool])
def test_W7_other_numbers_than_floats_are_refused(dtype: torch.dtype, name: str) -> None:
    theirs = body(3).state_dict()  # so that the stem is adapted from colour to grey
    theirs[name] = theirs[name].to(dtype)
    with pytest.raises(InputError, match=f"^w: tensor {name} is {dtype}; expected float32"):
        match_weights("w", theirs, body())


def test_what_fits_nothing_may_hold_any_numbers_and_is_listed() -> None:
    theirs: dict[str, torch.Tensor] = {f"module.{name}": t for name, t in body().state_dict().items()}
    beside = {
        "module.attn.relative_position_index": torch.zeros(49, 49, dtype=torch.int64),
        "module.mask": torch.zeros(3, dtype=torch.bool),
        "module.head.weight": torch.full((2, 16), float("nan"), dtype=torch.float64),
        "stem.weight": torch.zeros(1),  # a name of the body's, but not under the prefix of the others
    }
    found = match_weights("w", theirs | beside, body())
    assert set(found.unused) == set(beside)
    assert len(found.tensors) == len(body().state_dict())


def test_brief_floats_become_float32_without_loss_and_counters_stay() -> None:
    norm = torch.nn.BatchNorm2d(2)
    theirs = {"weight": torch.tensor([1.5, -2.25], dtype=torch.bfloat16)}
    theirs |= {"bias": torch.tensor([0.5, 3.0], dtype=torch.float16), "num_batches_tracked": torch.tensor(7)}
    theirs |= {"running_mean": torch.zeros(2), "running_var": torch.ones(2)}
    found = match_weights("w", theirs, norm).tensors
    assert found["weight"].dtype == found["bias"].dtype == torch.float32
    assert found["weight"].tolist() == [1.5, -2.25]
    assert found["num_batches_tracked"].item() == 7
    with pytest.raises(InputError, match=r"num_batches_tracked is torch\.float32; expected torch\.int64"):
        match_weights("w", theirs | {"num_batches_tracked": torch.tensor(7.0)}, norm)


def test_a_first_kernel_of_another_size_is_not_called_adapted() -> None:
    theirs = body().state_dict()
    theirs["stem.weight"] = torch.zeros(8, 3, 7, 7)
    found = match_weights("w", theirs, body())
    assert found.adapted == ()
    assert found.other_shape == ("stem.weight (8, 3, 7, 7), expected (8, 1, 3, 3)",)


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
