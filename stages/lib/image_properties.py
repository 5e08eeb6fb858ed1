"""Simple numbers that say how a picture was taken rather than what it shows: light, colour, sharpness, frame.

They are measured on the stored pixels, without the bars that `ingest.fit: pad` puts beside a picture. Light
comes from one histogram of 256 grey levels a picture, so that percentiles, spread and entropy cost one pass.

Sharpness is after Crete et al. 2007 (The blur effect: perception and estimation with a new no-reference
perceptual blur metric): how much of the change between neighbouring pixels a mean of three takes away. A
picture that is blurred already loses little. The worse axis counts, so that motion blur is seen too; contrast
cancels out. A step edge softened by a Gaussian of 1 pixel gives 0.12, natural photographs 0.3 to 0.6.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from stages.lib.pooling import Floats

Bytes = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""Top, bottom, left, right: rows and columns of the picture inside its square."""

LUMA = (77, 150, 29)
"""Grey from RGB as in ITU-R BT.601 (0.299, 0.587, 0.114), in 256ths: whole numbers take a third the time."""

LEVELS = 256
NAMES = (
    "brightness",
    "dark_level",
    "bright_level",
    "contrast",
    "entropy",
    "sharpness",
    "red",
    "green",
    "blue",
    "saturation",
    "border_red",
    "border_green",
    "border_blue",
)
"""All are 0...1. dark_level and bright_level: 5th and 99th percentile of grey; contrast: 99th less 1st;
entropy: bits of the grey levels over what so many pixels could have; saturation: largest less smallest
channel, mean; border: the outermost pixels, mean, NaN in pictures under BORDER_FROM; sharpness: see above,
NaN where a picture is under 4 pixels both ways."""

BORDER_FROM = 16
"""Shorter side in pixels from which the outermost pixels are a border: of 8 x 8 they are nearly half."""

CHUNK_PIXELS = 2**22
"""Pixels measured at a time: some 100 MB of working memory."""

FLAT = 1e-3
"""Mean change from pixel to pixel, in 0...1, below which it is rounding: a quarter of a grey level."""


def measure_all(pixels: Bytes, widths: npt.NDArray[np.int64], heights: npt.NDArray[np.int64]) -> Floats:
    """Measure pictures (n, s, s, c), originally widths x heights (n,): (n, len(NAMES)) float32."""
    found = np.empty((len(pixels), len(NAMES)), np.float32)
    step = max(1, CHUNK_PIXELS // (pixels.shape[1] * pixels.shape[2]))
    for start in range(0, len(pixels), step):
        stop = start + step
        chunk = np.asarray(pixels[start:stop])
        for rows, (top, bottom, left, right) in _boxes(chunk, widths[start:stop], heights[start:stop]):
            found[start + rows] = measure(chunk[rows, top:bottom, left:right])
    return found


def _boxes(
    pixels: Bytes, widths: npt.NDArray[np.int64], heights: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], Box]]:
    """Yield the rows that share a box; the whole square where nothing was put beside the picture."""
    side = pixels.shape[1]
    sizes, which = np.unique(np.stack([widths, heights], 1), axis=0, return_inverse=True)
    rows_of: dict[Box, list[npt.NDArray[np.int64]]] = {}
    for number, (width, height) in enumerate(sizes.tolist()):
        rows, box = np.flatnonzero(which.ravel() == number), padded_box(width, height, side)
        bars = _has_bars(pixels[rows], box)
        for chosen, place in ((rows[bars], box), (rows[~bars], (0, side, 0, side))):
            rows_of.setdefault(place, []).append(chosen)
    for place, parts in rows_of.items():
        if any(map(len, parts)):
            yield np.concatenate(parts), place


def padded_box(width: int, height: int, side: int) -> Box:
    """Return where `ingest.fit: pad` puts a picture of this size in the square."""
    scale = side / max(width, height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (side - across) // 2, (side - down) // 2
    return top, top + down, left, left + across


def _has_bars(pixels: Bytes, box: Box) -> npt.NDArray[np.bool_]:
    """Say which pictures (n, s, s, c) are of one colour, that of the last corner, outside the box: bars."""
    top, bottom, left, right = box
    corner = pixels[:, -1:, -1:]
    beside = [pixels[:, :top], pixels[:, bottom:], pixels[:, :, :left], pixels[:, :, right:]]
    bars: npt.NDArray[np.bool_] = np.all([(part == corner).all((1, 2, 3)) for part in beside], axis=0)
    return bars


def measure(pictures: Bytes) -> Floats:
    """Measure pictures (n, h, w, c) of one shape: (n, len(NAMES)) float32."""
    n, channels = len(pictures), pictures.shape[3]
    # Channel by channel: reductions over a last axis of three cost NumPy ten times as much.
    planes = [np.ascontiguousarray(pictures[..., channel]) for channel in range(channels)]
    grey = planes[0] if channels == 1 else _grey(planes)
    red, green, blue = planes * (3 // channels)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    columns: Mapping[str, npt.NDArray[np.floating]] = {
        **_light(_histograms(grey.reshape(n, -1))),
        "sharpness": sharpness(grey),
        "red": _mean(red),
        "green": _mean(green),
        "blue": _mean(blue),
        "saturation": _mean(spread),
        "border_red": _border(red),
        "border_green": _border(green),
        "border_blue": _border(blue),
    }
    return np.stack([columns[name] for name in NAMES], axis=1).astype(np.float32)


def _grey(planes: list[Bytes]) -> Bytes:
    parts = [np.uint16(weight) * plane for weight, plane in zip(LUMA, planes, strict=True)]
    merged: Bytes = ((parts[0] + parts[1] + parts[2] + np.uint16(128)) >> np.uint16(8)).astype(np.uint8)
    return merged


def _mean(plane: Bytes) -> Floats:
    flat = plane.reshape(len(plane), -1)
    mean: Floats = flat.sum(1, dtype=np.uint32).astype(np.float32) / np.float32(flat.shape[1] * (LEVELS - 1))
    return mean


def _border(plane: Bytes) -> Floats:
    """Return the mean of the outermost pixels of (n, h, w); NaN where they are no border but a good part."""
    if min(plane.shape[1:]) < BORDER_FROM:
        return np.full(len(plane), np.nan, np.float32)
    return _mean(np.concatenate([plane[:, 0], plane[:, -1], plane[:, 1:-1, 0], plane[:, 1:-1, -1]], axis=1))


def _histograms(grey: Bytes) -> npt.NDArray[np.int64]:
    """Count the grey levels of each row of pixels (n, p): (n, 256)."""
    offsets = np.arange(len(grey), dtype=np.int64)[:, None] * LEVELS
    counts = np.bincount((grey + offsets).ravel(), minlength=len(grey) * LEVELS)
    return counts.reshape(-1, LEVELS)


def _light(histograms: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    n_pixels = int(histograms[0].sum())
    cumulated = histograms.cumsum(1)

    def percentile(share: float) -> npt.NDArray[np.float64]:
        # By rank, as in a sorted row: the smallest level that at least this share of the pixels stays within.
        levels: npt.NDArray[np.int64] = (cumulated < max(1, np.ceil(share * n_pixels))).sum(1)
        return levels / (LEVELS - 1)

    shares = histograms / n_pixels
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    most_bits = min(np.log2(LEVELS), np.log2(max(n_pixels, 2)))
    return {
        "brightness": shares @ (np.arange(LEVELS) / (LEVELS - 1)),
        "dark_level": percentile(0.05),
        "bright_level": percentile(0.99),
        "contrast": percentile(0.99) - percentile(0.01),
        "entropy": -(shares * logs).sum(1) / most_bits,
    }


def sharpness(grey: Bytes) -> Floats:
    """Measure grey pictures (n, h, w): (n,) in 0 (smeared or constant) ... 1, by the worse of two axes."""
    image = grey.astype(np.float32) / np.float32(LEVELS - 1)
    along = [_lost_change(view) for view in (image, image.swapaxes(1, 2)) if view.shape[2] >= 4]
    return np.min(along, axis=0) if along else np.full(len(grey), np.nan, np.float32)


def _lost_change(image: Floats) -> Floats:
    """Return the share of change along the last axis that a mean of three pixels takes away, (n,)."""
    before = np.abs(np.diff(image[:, :, 1:-1], axis=2))
    # The mean of three changes from one place to the next by a third of the change across three pixels.
    after = np.abs(image[:, :, 3:] - image[:, :, :-3]) / np.float32(3)
    lost = np.maximum(before - after, 0).mean((1, 2))
    share: Floats = lost / np.maximum(before.mean((1, 2)), np.float32(FLAT))
    return share
