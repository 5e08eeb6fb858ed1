"""What a transformer knows of places, brought to another picture size.

A table with one row for each patch, or for each distance between patches of a window, is as large as the
pictures that its network was trained on. For others it is resampled as a picture is (Dosovitskiy et al.,
arXiv:2010.11929, section 3.2, for places; Liu et al., arXiv:2103.14030, appendix A2, for distances), so that
fine-tuning starts from places that are nearly right.
"""

from math import isqrt, prod

import torch
from torch import nn
from torch.nn import functional

PLACES, DISTANCES = "pos_embed", "relative_position_bias_table"
"""Names of such tables in timm's nets: (1, rows, features), and (rows, heads) or (heads, height, width)."""


def resampled(table: torch.Tensor, name: str, body: nn.Module) -> torch.Tensor | None:
    """Return the tensor `name` of a file as float32 in the shape of the body's; None: it is no such table.

    Rows that belong to no place, such as a class token's, are kept; a file that has others of them, or whose
    places do not fill a square, is not resampled.
    """
    owner_name, _, kind = name.rpartition(".")
    owner, wanted = body.get_submodule(owner_name), body.state_dict()[name].shape
    if not table.is_floating_point() or table.ndim != len(wanted) or not table.numel():
        return None
    if kind == PLACES:
        grid = getattr(getattr(owner, "patch_embed", None), "grid_size", None)
        return None if grid is None or table.ndim != 3 else _places(table.float(), wanted, grid)
    if kind == DISTANCES:
        window = getattr(owner, "window_size", None)
        return None if window is None else _distances(table.float(), wanted, window)
    return None


def _places(table: torch.Tensor, wanted: torch.Size, grid: tuple[int, int]) -> torch.Tensor | None:
    others = wanted[1] - prod(grid)
    if (table.shape[0], table.shape[2]) != (1, wanted[2]) or not _squares(table.shape[1] - others, others):
        return None
    from timm.layers.pos_embed import resample_abs_pos_embed

    found: torch.Tensor = resample_abs_pos_embed(table, list(grid), num_prefix_tokens=others)
    return found


def _distances(table: torch.Tensor, wanted: torch.Size, window: tuple[int, int]) -> torch.Tensor | None:
    """A window of n patches has 2 n - 1 distances a side; bicubic, as Swin's authors load their own files."""
    sides = tuple(2 * side - 1 for side in window)
    if table.ndim == 3:
        heads_and_sides = (table.shape[0], *sides)
        return _bicubic(table, sides) if tuple(wanted) == heads_and_sides else None
    others = wanted[0] - prod(sides)
    placed = len(table) - others
    if table.ndim != 2 or table.shape[1] != wanted[1] or not _squares(placed, others):
        return None
    square = table[:placed].T.reshape(wanted[1], isqrt(placed), isqrt(placed))
    return torch.cat([_bicubic(square, sides).flatten(1).T, table[placed:]])


def _squares(n: int, others: int) -> bool:
    """Say whether n rows fill a square, and the body's own grid leaves room for as many others."""
    return others >= 0 and n > 0 and isqrt(n) ** 2 == n


def _bicubic(maps: torch.Tensor, sides: tuple[int, ...]) -> torch.Tensor:
    """Resample (M, h, w)."""
    return functional.interpolate(maps[None], size=list(sides), mode="bicubic")[0]
