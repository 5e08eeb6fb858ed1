import numpy as np
import torch

from stages.lib.augment_erase import BOX_DRAWS, cutout_mask, erasing_mask, hidden
from tests.lib.augment_fixture import draws, even, scenes
from tests.lib.test_augment_geometry import largest_gap


def shares(mask: torch.Tensor) -> np.ndarray:
    found: np.ndarray = mask.float().mean((1, 2, 3)).numpy()
    return found


def test_the_erased_share_is_uniform_between_its_bounds() -> None:
    n = 3000
    mask = erasing_mask(draws(BOX_DRAWS, n), (0.1, 0.3), torch.Size((n, 3, 64, 64)))
    uniform = np.random.default_rng(0).uniform(0.1, 0.3, n)
    assert largest_gap(shares(mask), uniform) < 0.06  # 0.05 by chance once in a thousand, 0.01 of rounding
    rows, columns = mask[:, 0].any(2), mask[:, 0].any(1)
    assert torch.equal(rows[:, :, None] & columns[:, None, :], mask[:, 0])  # boxes, whole inside the picture
    aspects = (columns.sum(1) / rows.sum(1)).log()
    assert float(aspects.abs().max()) <= np.log(1 / 0.3) + 0.2
    assert abs(float(aspects.mean())) < 0.05


def test_cutout_is_a_square_around_any_point_cut_off_at_the_edge() -> None:
    n, side = 3000, 32
    mask = cutout_mask(draws(2, n), 0.5, even(n, 1.0), torch.Size((n, 1, side, side)))
    rows, columns = mask[:, 0].any(2).sum(1), mask[:, 0].any(1).sum(1)
    assert int(rows.max()) == int(columns.max()) == side // 2
    assert side // 4 <= int(rows.min()) < side // 4 + 2
    # A square of half the side around any point: expected 0.4375 of each side inside, squared.
    assert abs(float(mask.float().mean()) - 0.4375**2) < 0.01
    assert not cutout_mask(draws(2, n), 0.5, even(n, 0.0), torch.Size((n, 1, side, side))).any()


def test_holes_are_filled_with_the_pictures_own_mean_or_with_noise() -> None:
    images, noise = scenes(3), scenes(3).flip(0)
    mask = torch.zeros((3, 1, 32, 32), dtype=torch.bool)
    mask[:, :, 4:9, 20:] = True
    filled = hidden(images, mask, None)
    assert torch.allclose(filled[:, :, 4:9, 20:], images.mean((2, 3))[:, :, None, None].expand(3, 3, 5, 12))
    noisy = hidden(images, mask, noise)
    assert torch.equal(noisy[:, :, 4:9, 20:], noise[:, :, 4:9, 20:])
    for changed in (filled, noisy):
        assert torch.equal(changed[:, :, :4], images[:, :, :4])
