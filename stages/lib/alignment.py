"""How alike two pictures are pixel by pixel, once one is laid over the other as well as it can be.

1. The best whole-pixel shift, by cross-correlation of the detail (what a blur takes away).
2. From there shift and zoom, along each axis on their own, by Gauss-Newton on the difference of grey values
   less a gain and an offset (Lucas & Kanade 1981; Baker & Matthews, "Lucas-Kanade 20 years on", 2004). Such a
   change is separable: sampling a picture is a matrix product from either side, a batch at a time.
3. 1 - correlation of the detail, block by block over the part that both show, the mean over blocks that have
   any detail. So a frame, a horizon or a bright outline counts no more than what lies inside it, and a smooth
   sky is like nothing. Light, contrast and colour drop out. Pictures of a single block are compared as they
   are: they have no detail to lose.

Pictures so small that the largest zoom moves their border by less than ZOOM_PIXELS are only shifted: there a
zoom fits one drawing onto another (digits of 8 pixels: share found before the first false pair 1.0 by shifts,
0.7 with zoom).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from stages.lib.pooling import Floats, area_weights, pool

ZOOM_PIXELS = 2
BACKGROUND = 3.0
"""Width (standard deviation, pixels) of the blur that detail lacks. 2 and 3 serve CIFAR-10 alike; crops of
smooth textures are found more often with 3 (0.95 of 300 against 0.87)."""

SOFTENING = 0.02
"""Width of the blur that takes pixel noise and JPEG's off, as a fraction of the side: digits of 8 pixels have
nothing to spare (at 0.6 pixels 14 of 515 accepted pairs were false, at 0.16 none)."""

BROAD = 0.1
"""Width of the blur that takes uneven light off before pictures are laid over each other, of the side."""

BLOCK = 8
"""Pixels a side of a block. To find 0.93 of CIFAR-10's 127 judged near copies by a bound on the residual
alone, 3,523 pairs are accepted so, 4,325 where all detail weighs alike and ruled lines stay. Other textures
in a common white frame: residual at least 0.17; 0.02 with detail held against its strength round about
instead of blocks."""

FAINT = 4 / 255
"""A block of this much detail (root mean square) counts 0.7 of one of much detail."""

NOISE = 0.5 / 255
"""Detail below this is rounding: it keeps two flat blocks from being alike."""

COARSE_STEPS, FINE_STEPS, HOPELESS = 4, 3, 0.6
"""Gauss-Newton at half size, then at full size for pairs whose residual is below HOPELESS. Against six steps
at full size for all: 0.998 of 2,009 candidates on the same side of 0.15, in half the time (0.12 ms a
pair)."""


@dataclass(frozen=True)
class Limits:
    """Largest shift in pixels, and largest zoom along an axis as a fraction (0: none)."""

    shift: int
    zoom: float

    @classmethod
    def of(cls, side: int, max_shift: float, max_zoom: float) -> "Limits":
        """For pictures of `side` pixels, from fractions of the side."""
        return cls(int(side * max_shift), max_zoom if side * max_zoom / 2 >= ZOOM_PIXELS else 0.0)


def blur(images: Floats, width: float) -> Floats:
    """Blur (n, s, s) by a Gaussian of this standard deviation.

    Beyond the border pictures go on as they came (turned about their last pixel), so that a plain slope is
    its own blur there too: skies of one colour scale would otherwise have borders in common."""
    weights = _weights(images.shape[-1], width).T
    across = (images @ weights).transpose(0, 2, 1)
    blurred: Floats = (np.ascontiguousarray(across) @ weights).transpose(0, 2, 1)
    return blurred


@cache
def _weights(side: int, width: float) -> Floats:
    """Weights of the blur along one axis, (s, s); rows sum to 1."""
    beyond = min(int(4 * width) + 1, side - 1)
    position = np.arange(-beyond, side + beyond)
    kernel = np.exp(-0.5 * ((np.arange(side)[:, None] - position) / width) ** 2)
    folded = np.zeros((len(position), side))  # each place's value from the pixels that are there
    for row, place in enumerate(position.tolist()):
        inside = min(max(place, 0), side - 1)
        folded[row, inside] += 2 if place != inside else 1
        folded[row, 2 * inside - place] -= 1 if place != inside else 0
    return np.asarray(kernel / kernel.sum(1, keepdims=True) @ folded, np.float32)


def soften(images: Floats) -> Floats:
    """Blur by SOFTENING of the side."""
    return blur(images, SOFTENING * images.shape[-1])


def detail(images: Floats) -> Floats:
    """What is finer than BACKGROUND and coarser than noise, (n, s, s) of grey in 0...1 -> (n, s, s)."""
    soft = soften(images)
    return np.asarray(soft - blur(soft, BACKGROUND))


def residuals(first: Floats, second: Floats, limits: Limits) -> Floats:
    """Return 1 - correlation of detail, best laid over, for each pair of (n, s, s): (n,) in 0...2."""
    place = best_shifts(first, second, limits.shift)
    if not limits.zoom:
        return _residuals_at(place, first, second)
    even, other = _evenly_lit(first), _evenly_lit(second)
    place = _refine_coarsely(even, other, place, limits)
    found = _residuals_at(place, first, second)
    rows = np.flatnonzero(found < HOPELESS)
    place = refine(even[rows], other[rows], place[rows], limits, FINE_STEPS)
    found[rows] = np.minimum(found[rows], _residuals_at(place, first[rows], second[rows]))
    return found


def _evenly_lit(images: Floats) -> Floats:
    soft = soften(images)
    return np.asarray(soft - blur(soft, BROAD * images.shape[-1]))


def _refine_coarsely(first: Floats, second: Floats, place: Floats, limits: Limits) -> Floats:
    """Refine at half the size, where a step costs a quarter and reaches twice as far."""
    side = first.shape[-1]
    weights = area_weights(side, side // 2)
    scale = np.array([1, side / (side // 2)] * 2, np.float32)
    coarse = refine(pool(first, weights), pool(second, weights), place / scale, limits, COARSE_STEPS)
    moved: Floats = coarse * scale
    return moved


def _residuals_at(place: Floats, first: Floats, second: Floats) -> Floats:
    rows, inside_y = sampling(place[:, :2], first.shape[-1])
    columns, inside_x = sampling(place[:, 2:], first.shape[-1])
    moved = np.asarray(rows @ second @ columns.transpose(0, 2, 1), np.float32)
    inside = inside_y[:, :, None] * inside_x[:, None, :]
    if first.shape[-1] < 2 * BLOCK:
        return unlikeness(first, moved, inside)
    return unlikeness(_unruled(detail(first), inside), _unruled(detail(moved), inside), inside)


def _unruled(images: Floats, inside: Floats) -> Floats:
    """Take off what is the same along a whole row or column: horizons and borders, which many pictures
    share."""
    across = (images * inside).sum(2, keepdims=True) / np.maximum(inside.sum(2, keepdims=True), 1)
    rest = images - across
    down = (rest * inside).sum(1, keepdims=True) / np.maximum(inside.sum(1, keepdims=True), 1)
    return np.asarray(rest - down)


def unlikeness(first: Floats, second: Floats, inside: Floats) -> Floats:
    """1 - correlation over the pixels inside, block by block, of details (n, s, s): (n,) in 0...2.

    A block weighs by its pixels inside and by how much detail the richer picture has there; where there is
    none at all, nothing is alike: 1."""
    side = first.shape[-1]
    count = max(1, side // BLOCK)
    blocks = area_weights(side, count) * np.float32(side / count)
    area = np.maximum(pool(inside, blocks), 1e-6)
    a, b = first * inside, second * inside
    sum_a, sum_b = pool(a, blocks), pool(b, blocks)
    noise = np.float32(NOISE**2) * area
    energy_a = np.maximum(pool(a * a, blocks) - sum_a**2 / area, 0) + noise
    energy_b = np.maximum(pool(b * b, blocks) - sum_b**2 / area, 0) + noise
    correlation = (pool(a * b, blocks) - sum_a * sum_b / area) / np.sqrt(energy_a * energy_b)
    power = np.maximum(energy_a, energy_b) / area - np.float32(NOISE**2)
    weight = area * np.sqrt(np.maximum(power, 0) / (np.maximum(power, 0) + np.float32(FAINT**2)))
    total = weight.sum((1, 2)) + np.float32(1e-6 * side**2)
    apart: Floats = np.clip(1 - (weight * correlation).sum((1, 2)) / total, 0, 2).astype(np.float32)
    return apart


def best_shifts(first: Floats, second: Floats, shift: int) -> Floats:
    """Find where each `second` fits `first` best: (n, 4) of zoom and shift along y, then along x."""
    size = first.shape[-1] + shift
    a, b = (np.fft.rfft2(image - blur(image, BACKGROUND), (size, size)) for image in (first, second))
    around = np.arange(-shift, shift + 1)
    fit = np.fft.irfft2(a.conj() * b, (size, size))[:, around][:, :, around]
    down, right = np.divmod(fit.reshape(len(fit), (2 * shift + 1) ** 2).argmax(1), 2 * shift + 1)
    place = np.zeros((len(fit), 4), np.float32)
    place[:, 1], place[:, 3] = down - shift, right - shift
    return place


def sampling(place: Floats, side: int) -> tuple[Floats, Floats]:
    """Turn zoom and shift along one axis (n, 2) into weights (n, s, s) and which samples lie inside (n,
    s)."""
    centre = np.float32((side - 1) / 2)
    position = centre + (1 + place[:, :1]) * (np.arange(side, dtype=np.float32) - centre) + place[:, 1:]
    clipped = np.clip(position, 0, side - 1)[:, :, None]
    weights = np.maximum(0, 1 - np.abs(clipped - np.arange(side, dtype=np.float32)))
    inside = (position >= -0.01) & (position <= side - 0.99)
    return weights, inside.astype(np.float32)


def refine(first: Floats, second: Floats, place: Floats, limits: Limits, steps: int) -> Floats:
    """Improve zoom and shift of `second` (n, s, s) to fit `first`: (n, 4) -> (n, 4)."""
    side = first.shape[-1]
    slopes = np.gradient(second, axis=(1, 2))
    most = np.array([limits.zoom, side / 4] * 2, np.float32)
    for _ in range(steps):
        rows, inside_y = sampling(place[:, :2], side)
        columns, inside_x = sampling(place[:, 2:], side)
        turned = columns.transpose(0, 2, 1)
        moved, down, across = (rows @ image @ turned for image in (second, *slopes))
        step = _gauss_newton(first, moved, down, across, inside_y[:, :, None] * inside_x[:, None, :])
        place = np.clip(place + step, -most, most)
    return place


LARGEST_STEP = np.array([0.05, 1, 0.05, 1], np.float32)
LEAST_GAIN = 0.2
"""A step is as large as the gain is small: below this, the pictures do not fit and the step means nothing."""


def _gauss_newton(first: Floats, moved: Floats, down: Floats, across: Floats, inside: Floats) -> Floats:
    """Solve first = offset + gain * (moved + slopes . step) by least squares for step: (n, 4)."""
    n, side = first.shape[:2]
    u = np.arange(side, dtype=np.float32) - np.float32((side - 1) / 2)
    terms = np.empty((n, 6, side, side), np.float32)
    terms[:, 0], terms[:, 1] = 1, moved
    terms[:, 2], terms[:, 3] = down * u[:, None], down
    terms[:, 4], terms[:, 5] = across * u, across
    terms *= inside[:, None]
    flat = terms.reshape(n, 6, side * side)
    normal = (flat @ flat.transpose(0, 2, 1)).astype(np.float64)
    right = (flat @ first.reshape(n, side * side, 1)).astype(np.float64)
    # A little of the trace on the diagonal: flat pictures leave the step undetermined, and it then
    # stays small.
    normal += 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(6) / 6 + 1e-12 * np.eye(6)
    solved = np.linalg.solve(normal, right)[..., 0]
    gain = np.maximum(np.abs(solved[:, 1:2]), LEAST_GAIN) * np.where(solved[:, 1:2] < 0, -1, 1)
    step: npt.NDArray[np.float32] = (solved[:, 2:] / gain).astype(np.float32)
    return np.clip(step, -LARGEST_STEP, LARGEST_STEP)
