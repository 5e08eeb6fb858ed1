from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib import augment as augment_module
from stages.lib.augment import Augmentation, affine_matrices, augment
from stages.lib.counters import generator

CPU = torch.device("cpu")
NONE = Augmentation(0.0, 0.0, 0.0, 0.0, False, "zeros")
SOME = Augmentation(10.0, 0.1, 0.1, 0.1, False, "zeros")


def pictures(n: int = 6, side: int = 9) -> torch.Tensor:
    return torch.rand((n, 3, side, side), generator=generator(CPU, "pictures", n, side))


def test_no_strength_changes_nothing() -> None:
    assert torch.allclose(augment(pictures(), NONE, generator(CPU, 1)), pictures(), atol=1e-6)


def test_the_same_generator_gives_the_same_change_and_every_image_its_own() -> None:
    once = augment(pictures(), SOME, generator(CPU, 1))
    assert torch.equal(once, augment(pictures(), SOME, generator(CPU, 1)))
    same = pictures(1).expand(4, -1, -1, -1)
    changed = augment(same, SOME, generator(CPU, 2))
    assert all(not torch.equal(changed[0], other) for other in changed[1:])


def test_a_batch_is_left_as_it_was() -> None:
    batch = pictures()
    augment(batch, SOME, generator(CPU, 1))
    assert torch.equal(batch, pictures())


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.5), st.integers(0, 50))
def test_a_shift_stays_within_its_bound(shift: float, seed: int) -> None:
    matrices = affine_matrices(16, replace(NONE, shift=shift), generator(CPU, seed))
    assert float(matrices[:, :, 2].abs().max()) <= 2 * shift + 1e-6
    assert torch.allclose(matrices[:, :, :2], torch.eye(2).expand(16, 2, 2))


def test_a_rotation_keeps_lengths() -> None:
    maps = affine_matrices(20, replace(NONE, rotation_degrees=30.0), generator(CPU, 0))[:, :, :2]
    assert torch.allclose(maps @ maps.transpose(1, 2), torch.eye(2).expand(20, 2, 2), atol=1e-6)
    assert float(torch.acos(maps[:, 0, 0].clamp(-1, 1)).max()) <= torch.deg2rad(torch.tensor(30.0)) + 1e-3


def test_a_whole_pixel_shift_moves_whole_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_right(n: int, *_: object) -> torch.Tensor:
        return torch.tensor([[1.0, 0, -2 / 9], [0, 1, 0]]).expand(n, 2, 3)

    monkeypatch.setattr(augment_module, "affine_matrices", one_right)
    moved = augment(pictures(), NONE, generator(CPU, 0))
    assert torch.allclose(moved[..., 1:], pictures()[..., :-1], atol=1e-5)
    assert float(moved[..., 0].abs().max()) < 1e-5


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_rest() -> None:
    batch = pictures(400)
    flipped = augment(batch, replace(NONE, flip=True), generator(CPU, 3))
    mirrored = (flipped - batch.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    kept = (flipped - batch).abs().amax((1, 2, 3)) < 1e-5
    assert bool((mirrored | kept).all())
    assert 160 < int(mirrored.sum()) < 240  # four standard deviations of a fair coin


def test_border_padding_brings_no_black_in() -> None:
    white = torch.ones((8, 1, 9, 9))
    assert float(augment(white, replace(SOME, padding="border"), generator(CPU, 0)).min()) > 0.999
    assert float(augment(white, replace(SOME, padding="zeros"), generator(CPU, 0)).min()) < 0.9


def test_a_strength_multiplies_every_magnitude_of_its_own_image_and_never_mirrors() -> None:
    how = Augmentation(10.0, 0.1, 0.0, 0.2, True, "zeros")
    strength = torch.tensor([1.0, 2.0, 0.5, 0.0])
    plain, scaled = (affine_matrices(4, how, generator(CPU, 5), s) for s in (None, strength))
    assert torch.equal(plain[0], scaled[0])
    assert torch.allclose(scaled[:, :, 2], plain[:, :, 2] * strength[:, None])
    # No zoom: the lower row is (mirror · sin, cos) of the angle.
    angle = [torch.asin(maps[:, 1, 0].abs()) for maps in (plain, scaled)]
    assert torch.allclose(angle[1], angle[0] * strength, atol=1e-6)
    assert torch.equal(torch.sign(scaled[:, 0, 0]), torch.sign(plain[:, 0, 0]))


def test_a_strength_of_one_is_none_at_all() -> None:
    ones = torch.ones(6)
    assert torch.equal(
        augment(pictures(), SOME, generator(CPU, 4), ones), augment(pictures(), SOME, generator(CPU, 4))
    )
