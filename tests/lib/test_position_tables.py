"""Positions of transformers that were trained on other picture sizes, beside what timm makes of them."""

import sys

import pytest
import timm
import torch
from torch import nn

from stages.lib.errors import InputError
from stages.lib.position_tables import resampled
from stages.lib.weight_matching import Match, match_weights

NETS = {
    "vit_tiny_patch16_224": ({"embed_dim": 12, "depth": 1, "num_heads": 1}, 1),  # a class token
    "deit3_small_patch16_224": ({"embed_dim": 12, "depth": 1, "num_heads": 1}, 1),  # none
    "beit_base_patch16_224": ({"embed_dim": 12, "depth": 2, "num_heads": 1}, 2),  # distances, flat
    "swin_tiny_patch4_window7_224": (
        {"embed_dim": 12, "depths": (1, 1), "num_heads": (1, 1), "window_size": 4},
        2,
    ),
}
"""By name: how each is kept small, and how many tables it has."""


def body(name: str, image_size: int, **changes: object) -> nn.Module:
    torch.manual_seed(image_size)
    net: nn.Module = timm.create_model(name, num_classes=0, img_size=image_size, **NETS[name][0] | changes)
    with torch.no_grad():
        for table in net.parameters():
            table.normal_()  # some start at zero
    return net


def moved(name: str) -> tuple[dict[str, torch.Tensor], nn.Module, Match]:
    """Return a file's tensors, a body for smaller pictures, and what of the one fits the other."""
    window = {"window_size": 7} if "swin" in name else {}
    theirs, ours = body(name, 224, **window).state_dict(), body(name, 64)
    return theirs, ours, match_weights("w", {f"module.{key}": value for key, value in theirs.items()}, ours)


@pytest.mark.parametrize("name", NETS)
def test_every_table_of_places_is_resampled_and_listed(name: str) -> None:
    _, ours, found = moved(name)
    assert len(found.resampled) == NETS[name][1]
    assert found.other_shape == found.missing == ()
    assert f"resampled for other places: {found.resampled[0]}" in found.told()
    ours.load_state_dict(found.tensors)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit3_small_patch16_224"])
def test_places_are_those_that_timm_makes_of_its_own_files(name: str) -> None:
    theirs, ours, found = moved(name)
    filtered = sys.modules[type(ours).__module__].checkpoint_filter_fn(dict(theirs), ours)
    assert torch.equal(found.tensors["pos_embed"], filtered["pos_embed"])


def test_distances_keep_their_middle_and_their_slope_and_extra_rows_stay() -> None:
    name = "blocks.0.attn.relative_position_bias_table"
    ours = body("beit_base_patch16_224", 64)
    away = torch.arange(-13.0, 14.0)
    theirs = torch.cat([(away[:, None] + 100 * away).flatten(), torch.tensor([7.0, 8.0, 9.0])])[:, None]
    found = resampled(theirs, name, ours)
    assert found is not None
    assert found[-3:, 0].tolist() == [7, 8, 9]
    square = found[:-3, 0].view(7, 7)
    assert square[3, 3].abs() < 1e-4
    down, right = square.diff(dim=0), square.diff(dim=1)
    assert torch.allclose(down[1:5], torch.tensor(27 / 7), rtol=0.05)  # bicubic bends at the edges
    assert torch.allclose(right[:, 1:5], torch.tensor(2700 / 7), rtol=0.05)


def test_distances_in_maps_are_resampled_too() -> None:
    name = "stages.0.blocks.0.attn_block.attn.rel_pos.relative_position_bias_table"
    ours = timm.create_model(
        "maxvit_tiny_tf_224", num_classes=0, img_size=96, depths=(1,), embed_dim=(32,), stem_width=8
    )
    found = resampled(torch.full((1, 13, 13), 3.0), name, ours)
    assert found is not None
    assert found.shape == (1, 5, 5)
    assert torch.allclose(found, torch.tensor(3.0))
    assert resampled(torch.zeros(2, 13, 13), name, ours) is None


def test_the_class_token_keeps_its_own_row_and_a_constant_stays_one() -> None:
    ours = body("vit_tiny_patch16_224", 64)
    table = torch.full((1, 197, 12), 2.0)
    table[:, 0] = -5.0
    found = resampled(table.half(), "pos_embed", ours)
    assert found is not None
    assert found.shape == (1, 17, 12)
    assert found.dtype == torch.float32
    assert (found[:, 0] == -5).all()
    assert torch.allclose(found[:, 1:], torch.tensor(2.0))


@pytest.mark.parametrize(
    "shape", [(1, 198, 12), (1, 1, 12), (1, 197, 16), (2, 197, 12), (197, 12), (1, 0, 12)], ids=str
)
def test_a_table_that_is_not_a_square_of_places_is_listed_and_left(shape: tuple[int, ...]) -> None:
    ours = body("vit_tiny_patch16_224", 64)
    theirs = ours.state_dict() | {"pos_embed": torch.zeros(shape)}
    found = match_weights("w", theirs, ours)
    assert found.resampled == ()
    assert found.other_shape == (f"pos_embed {shape}, expected (1, 17, 12)",)


@pytest.mark.parametrize("shape", [(731, 1), (732, 2), (3, 1), (0, 1), (7, 7, 1)], ids=str)
def test_distances_that_fill_no_square_are_listed_and_left(shape: tuple[int, ...]) -> None:
    ours = body("beit_base_patch16_224", 64)
    name = "blocks.0.attn.relative_position_bias_table"
    found = match_weights("w", ours.state_dict() | {name: torch.zeros(shape)}, ours)
    assert (found.resampled, len(found.other_shape)) == ((), 1)


def test_W6_a_table_that_is_not_finite_is_refused_before_it_is_smeared() -> None:
    theirs, ours = body("vit_tiny_patch16_224", 224).state_dict(), body("vit_tiny_patch16_224", 64)
    theirs["pos_embed"][0, 5, 0] = float("nan")
    with pytest.raises(InputError, match=r"^w: tensor pos_embed holds 1 NaN or infinite numbers of 2364"):
        match_weights("w", theirs, ours)
    theirs["pos_embed"] = theirs["pos_embed"].double()
    with pytest.raises(InputError, match=r"tensor pos_embed is torch\.float64"):
        match_weights("w", theirs, ours)


def test_a_tensor_of_that_name_elsewhere_is_left() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pos_embed = nn.Parameter(torch.zeros(1, 17, 12))
            self.relative_position_bias_table = nn.Parameter(torch.zeros(49, 1))

    assert resampled(torch.zeros(1, 197, 12), "pos_embed", Other()) is None
    assert resampled(torch.zeros(169, 1), "relative_position_bias_table", Other()) is None
