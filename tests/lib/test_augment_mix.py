from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from stages.lib.augment_mix import Mix, Mixing, beta_draws, mixed
from stages.lib.counters import generator
from tests.lib.augment_fixture import CPU, scenes
from tests.lib.test_augment_geometry import largest_gap

OFF = Mixing(1.0, 0.0, 0.0, paste=False)
MIXUP, CUTMIX, PASTE = (
    replace(OFF, mixup_alpha=0.4),
    replace(OFF, cutmix_alpha=1.0),
    replace(OFF, paste=True),
)


def flat(n: int, side: int = 32) -> torch.Tensor:
    """Return pictures of one level each, so that every pixel says whose it is."""
    return torch.arange(1, n + 1).float()[:, None, None, None].expand(n, 1, side, side)


def mix_of(images: torch.Tensor, how: Mixing, seed: int = 0) -> tuple[torch.Tensor, Mix]:
    found, mix = mixed(images, how, generator(CPU, "mix", seed))
    assert mix is not None
    return found, mix


@pytest.mark.parametrize("alpha", [0.2, 0.4, 1.0, 3.0])
def test_beta_draws_are_betas(alpha: float) -> None:
    n = 20_000
    found = beta_draws(torch.rand(n, generator=generator(CPU, "beta")), alpha).numpy()
    assert largest_gap(found, np.random.default_rng(0).beta(alpha, alpha, n)) < 1.95 * np.sqrt(2 / n)


@pytest.mark.parametrize("how", [MIXUP, CUTMIX, PASTE])
def test_what_is_off_is_off_and_one_picture_has_nobody_to_mix_with(how: Mixing) -> None:
    images = scenes(4)
    for images_alone, kind in ((images, OFF), (images, replace(how, share=0.0)), (images[:1], how)):
        same, mix = mixed(images_alone, kind, generator(CPU, 0))
        assert mix is None
        assert same is images_alone


def test_mixup_is_the_weighted_mean_with_the_weights_of_the_labels() -> None:
    images = scenes(2000, 4)
    found, mix = mix_of(images, MIXUP)
    own = mix.own[:, None, None, None]
    assert torch.allclose(found, own * images + (1 - own) * images[mix.partner], atol=1e-6)
    assert sorted(mix.partner.tolist()) == list(range(2000))  # every picture is somebody's partner once
    beta = np.random.default_rng(1).beta(0.4, 0.4, 20_000)
    assert largest_gap(mix.own.numpy(), beta) < 1.95 * np.sqrt(1 / 2000 + 1 / 20_000)


def test_cutmix_labels_are_worth_the_area_that_is_seen() -> None:
    images = flat(2000)
    found, mix = mix_of(images, CUTMIX)
    theirs = (found == images[mix.partner]) & (images != images[mix.partner])
    moved = mix.partner != torch.arange(2000)
    assert torch.allclose(1 - theirs.float().mean((1, 2, 3))[moved], mix.own[moved], atol=1e-6)
    assert bool(((found == images) | (found == images[mix.partner])).all())
    # A box of area share a around any point: cut off at the edges, so that less than a is seen.
    lam = np.random.default_rng(0).uniform(size=20_000)
    side, centre = np.sqrt(1 - lam), np.random.default_rng(1).uniform(size=(2, 20_000))
    seen = np.clip(centre + side / 2, 0, 1) - np.clip(centre - side / 2, 0, 1)
    assert largest_gap(mix.own.numpy(), 1 - seen.prod(0)) < 0.06  # 0.045 by chance, the rest whole pixels


def test_paste_shows_the_whole_other_picture_small_and_labels_by_area() -> None:
    images = scenes(300)
    found, mix = mix_of(images, PASTE)
    changed = ((found - images).abs() > 1e-6).any(1)
    moved = mix.partner != torch.arange(300)
    assert float((changed.float().mean((1, 2)) - (1 - mix.own))[moved].max()) < 1e-6
    sides = torch.sqrt(1 - mix.own) * 32
    assert torch.allclose(sides, sides.round(), atol=1e-3)
    assert round(0.1 * 32) <= int(sides.min().round()) < int(sides.max().round()) <= round(0.8 * 32)
    for at in moved.nonzero()[:20, 0].tolist():
        side = int(sides[at].round())
        rows, columns = changed[at].any(1).nonzero()[:, 0], changed[at].any(0).nonzero()[:, 0]
        top, left = int(rows[0]), int(columns[0])
        if len(rows) == len(columns) == side:
            other = images[mix.partner[at]][None]
            small = functional.interpolate(other, side, mode="bilinear", antialias=True)[0]
            assert torch.allclose(found[at][:, top : top + side, left : left + side], small, atol=1e-5)


def test_a_share_of_the_pictures_is_mixed_by_each_kind_that_is_on() -> None:
    images = flat(6000, 8)
    found, mix = mix_of(images, replace(MIXUP, share=0.6, cutmix_alpha=1.0))
    levels = [len(np.unique(picture)) for picture in found[:, 0].numpy().reshape(6000, -1)]
    between = (found[:, 0, 0, 0] != images[:, 0, 0, 0]) & (
        found[:, 0, 0, 0] != images[mix.partner][:, 0, 0, 0]
    )
    untouched = (found == images).all((1, 2, 3))
    assert abs(float(between.float().mean()) - 0.3) < 0.04  # some of Beta(0.4, 0.4) lies at 0 or 1
    assert 0.15 < sum(count == 2 for count in levels) / 6000 < 0.32  # a whole picture is no box
    assert 0.37 < float(untouched.float().mean()) < 0.46
    assert bool((mix.own[untouched & (mix.partner != torch.arange(6000))] > 0.99).all())


def test_blended_values_and_losses_follow_the_weights() -> None:
    mix = Mix(torch.tensor([2, 0, 1]), torch.tensor([1.0, 0.25, 0.5]))
    values = torch.tensor([[1.0, 0], [0, 1], [2, 2]])
    assert mix.blend(values).tolist() == [[1.0, 0.0], [0.75, 0.25], [1.0, 1.5]]
    labels = torch.tensor([0, 1, 2])
    assert mix.loss(lambda given: given.float(), labels).tolist() == [0.0, 0.25, 1.5]


def test_two_draws_of_one_generator_are_the_same() -> None:
    both = replace(MIXUP, cutmix_alpha=1.0, paste=True, share=0.8)
    one, other = mix_of(scenes(20), both), mix_of(scenes(20), both)
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1].own, other[1].own)
