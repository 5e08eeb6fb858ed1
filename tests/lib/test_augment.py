from dataclasses import fields, replace

import pytest
import torch

from stages.lib.augment import PLACES, SIZES, Augmentation, alternating, augment
from stages.lib.augment_params import AugmentSection
from stages.lib.counters import generator
from tests.lib.augment_fixture import CPU, even, scenes

NONE = Augmentation()
SOME = Augmentation(rotation_degrees=10.0, shift=0.1, zoom=0.1, shear=0.1, aspect=0.05)
KINDS: dict[str, Augmentation] = {
    "maps": SOME,
    "flip": Augmentation(flip=True),
    "pixels": Augmentation(crop_pixels=3, padding="reflection"),
    "crop": Augmentation(crop_min_area=0.3),
    "randaugment": Augmentation(policy="randaugment", policy_operations=2, policy_magnitude=9),
    "trivialaugment": Augmentation(policy="trivialaugment"),
    "colour": Augmentation(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
    "downscale": Augmentation(downscale_share=0.7, downscale_min=0.4),
    "blur": Augmentation(blur_share=0.7, blur_sigma=1.5),
    "jpeg": Augmentation(jpeg_share=0.7, jpeg_quality=20),
    "erase": Augmentation(erase_share=0.7, erase_area=(0.1, 0.3)),
    "cutout": Augmentation(cutout=0.4, erase_fill="noise"),
}
EVERYTHING = Augmentation(
    **{
        field.name: getattr(kind, field.name)
        for kind in KINDS.values()
        for field in fields(kind)
        if getattr(kind, field.name) != getattr(NONE, field.name)
    }
)


def test_no_strength_changes_nothing() -> None:
    assert torch.equal(augment(scenes(), NONE, generator(CPU, 1)), scenes())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [*KINDS, "everything"])
def test_strength_is_each_images_own(kind: str, channels: int) -> None:
    how = KINDS.get(kind, EVERYTHING)
    images = scenes(60, 16, channels)
    strength = torch.ones(60)
    strength[::2] = 0
    found = augment(images, how, generator(CPU, kind), strength)
    assert float((found - images)[::2].abs().max()) < 1e-4
    changed = (found - images)[1::2].abs().amax((1, 2, 3)) > 1e-3
    assert float(changed.float().mean()) > 0.35
    whole = augment(images, how, generator(CPU, kind))
    assert torch.allclose(augment(images, how, generator(CPU, kind), torch.ones(60)), whole, atol=1e-6)
    assert torch.allclose(found[1::2], whole[1::2], atol=1e-6)


@pytest.mark.parametrize("kind", [*KINDS, "everything"])
def test_the_same_generator_gives_the_same_change_and_the_batch_stays(kind: str) -> None:
    how, batch = KINDS.get(kind, EVERYTHING), scenes()
    once = augment(batch, how, generator(CPU, 1))
    assert torch.equal(once, augment(batch, how, generator(CPU, 1)))
    assert torch.equal(batch, scenes())
    assert 0 <= float(once.min()) <= float(once.max()) <= 1 + 1e-6


def test_every_image_has_its_own_change() -> None:
    same = scenes(1).expand(4, -1, -1, -1)
    for how in (SOME, EVERYTHING):
        changed = augment(same, how, generator(CPU, 2))
        assert all(not torch.equal(changed[0], other) for other in changed[1:])


def test_half_the_strength_turns_half_as_far() -> None:
    turn = Augmentation(rotation_degrees=40.0)
    gentle = augment(scenes(), replace(turn, rotation_degrees=20.0), generator(CPU, 3))
    halved = augment(scenes(), turn, generator(CPU, 3), even(6, 0.5))
    assert torch.allclose(gentle, halved, atol=1e-5)


def test_switching_one_kind_off_leaves_the_draws_of_the_others() -> None:
    both = replace(KINDS["colour"], blur_share=0.0, crop_pixels=3, padding="border")
    images = scenes(20)
    moved = augment(images, replace(both, brightness=0, contrast=0, saturation=0, hue=0), generator(CPU, 4))
    flat = torch.ones((20, 3, 32, 32)) * 0.5
    alone = augment(flat, KINDS["colour"], generator(CPU, 4)).mean((2, 3))
    together = augment(flat, both, generator(CPU, 4)).mean((2, 3))
    assert torch.allclose(alone, together, atol=1e-5)
    assert not torch.equal(moved, images)


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_rest() -> None:
    batch = scenes(400, 9)
    for how in (replace(NONE, flip=True), replace(NONE, flip=True, shear=1e-9)):
        flipped = augment(batch, how, generator(CPU, 3))
        mirrored = (flipped - batch.flip(3)).abs().amax((1, 2, 3)) < 1e-5
        kept = (flipped - batch).abs().amax((1, 2, 3)) < 1e-5
        assert bool((mirrored | kept).all())
        assert 160 < int(mirrored.sum()) < 240  # four standard deviations of a fair coin


def test_alternating_draws_mirror_half_and_in_the_next_epoch_the_other_half() -> None:
    turns = torch.stack([alternating(1000, 7, epoch) < 0.5 for epoch in range(4)])
    assert 437 < int(turns[0].sum()) < 563  # four standard deviations of a fair coin
    assert torch.equal(turns[1], ~turns[0])
    assert torch.equal(turns[2:], turns[:2])
    assert not torch.equal(alternating(1000, 8, 0) < 0.5, turns[0])


def test_given_draws_decide_the_mirror_alone_and_strength_thins_them() -> None:
    batch = scenes(400, 9)
    mirror = alternating(400, 0, 0)
    for how in (replace(NONE, flip="alternate"), replace(NONE, flip="alternate", crop_pixels=2)):
        plain = augment(batch, replace(how, flip=False), generator(CPU, 3), mirror=mirror)
        expected = torch.where((mirror < 0.5)[:, None, None, None], batch.flip(3), batch)
        if not how.crop_pixels:
            assert torch.equal(plain, batch)
            assert torch.equal(augment(batch, how, generator(CPU, 3), mirror=mirror), expected)
        moved = augment(expected, replace(how, flip=False), generator(CPU, 3))
        assert torch.equal(augment(batch, how, generator(CPU, 3), mirror=mirror), moved)
    weak = augment(batch, replace(NONE, flip="alternate"), generator(CPU, 3), torch.full((400,), 0.5), mirror)
    changed = (weak - batch).abs().amax((1, 2, 3)) > 0
    assert torch.equal(changed, mirror < 0.25)


def test_shares_are_the_shares_of_images_that_change() -> None:
    batch = scenes(800, 8)
    for kind in ("downscale", "blur", "jpeg", "erase"):
        changed = (augment(batch, KINDS[kind], generator(CPU, 5)) - batch).abs().amax((1, 2, 3)) > 0
        assert 0.6 < float(changed.float().mean()) < 0.77, kind


def test_a_downscaled_image_has_at_least_its_least_side() -> None:
    how = replace(NONE, downscale_share=1.0, downscale_min=0.5)
    line = torch.zeros((200, 1, 1, 16))
    line[..., 7] = 1
    found = augment(line.expand(-1, -1, 16, -1), how, generator(CPU, 6))
    assert float(found.amax((1, 2, 3)).min()) > 0.2  # a line of one pixel, spread over four at the most


def test_border_padding_brings_no_black_in() -> None:
    white = torch.ones((8, 1, 9, 9))
    assert float(augment(white, replace(SOME, padding="border"), generator(CPU, 0)).min()) > 0.999
    assert float(augment(white, replace(SOME, padding="zeros"), generator(CPU, 0)).min()) < 0.9


def test_the_table_of_draws_has_a_place_for_each_kind() -> None:
    taken = [row for place in PLACES.values() for row in range(place.start, place.stop)]
    assert taken == list(range(sum(SIZES.values())))


def test_params_and_value_have_the_same_keys() -> None:
    assert {field.name for field in fields(Augmentation)} == set(AugmentSection.model_fields)
