"""Known faults planted into images and labels: what the finders must find is then known exactly."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

Edit = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Planted:
    """Images with known faults.

    pixels (n, s, s, c) uint8; labels (n,) as given; family (n,), equal where pictures come from one;
    kind (n,) of text, "" for originals; flipped (n,): whether the given label is wrong.
    """

    pixels: np.ndarray
    labels: np.ndarray
    family: np.ndarray
    kind: np.ndarray
    flipped: np.ndarray

    @property
    def sample_ids(self) -> tuple[str, ...]:
        return tuple(f"s{position:06d}" for position in range(len(self.pixels)))


def copied(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return image.copy()


def moved(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Shift by one pixel in one of eight directions; black comes in at the edge."""
    down, right = [(y, x) for y in (0, 1, 2) for x in (0, 1, 2) if (y, x) != (1, 1)][generator.integers(8)]
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    return padded[down : down + image.shape[0], right : right + image.shape[1]]


def reencoded(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Through JPEG at a quality of 75 to 90."""
    buffer = io.BytesIO()
    source = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    source.save(buffer, "JPEG", quality=int(generator.integers(75, 91)))
    return np.asarray(Image.open(buffer)).reshape(image.shape)


def relit(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Brightness times 0.7 to 1.3, clipped."""
    return np.clip(np.rint(image * generator.uniform(0.7, 1.3)), 0, 255).astype(np.uint8)


def moved_far(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Two moves of a pixel, one after the other."""
    return moved(moved(image, generator), generator)


def cropped(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Keep the middle 7/8 and enlarge it."""
    side, channels = image.shape[0], image.shape[2]
    edge = side / 16
    planes = [
        Image.fromarray(image[..., c]).resize(
            (side, side), Image.Resampling.BILINEAR, (edge, edge, side - edge, side - edge)
        )
        for c in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def mirrored(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return image[:, ::-1]


def recoloured(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Each channel times 0.7 to 1.3, plus up to 15 levels either way."""
    scale, offset = generator.uniform(0.7, 1.3, image.shape[2]), generator.uniform(-15, 15, image.shape[2])
    return np.asarray(np.clip(np.rint(image * scale + offset), 0, 255), np.uint8)


def resampled(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Down to 5/8 and up again."""
    side = image.shape[0]
    small = Image.fromarray(image).resize((side * 5 // 8,) * 2, Image.Resampling.BICUBIC)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def shifted(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Moved by two pixels either way along both axes; the border goes on."""
    down, right = generator.choice([0, 4], 2)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    return padded[down : down + image.shape[0], right : right + image.shape[1]]


def mirrored_and_cropped(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return cropped(mirrored(image, generator), generator)


PHOTOGRAPHIC: dict[str, Edit] = {
    "mirrored": mirrored,
    "cropped": cropped,
    "recoloured": recoloured,
    "reencoded": reencoded,
    "resampled": resampled,
    "shifted": shifted,
    "mirrored_and_cropped": mirrored_and_cropped,
}
"""What happens to photographs on their way through the web."""


NEAR: dict[str, Edit] = {"moved": moved, "reencoded": reencoded, "relit": relit}


def photographs(n: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """Noise whose amplitude falls with frequency as in photographs (Field 1987), in related colours."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    fall = 1 / np.maximum(frequency, 1 / side)
    spectrum = rng.normal(size=(n, 4, side, side // 2 + 1)) + 1j * rng.normal(
        size=(n, 4, side, side // 2 + 1)
    )
    layers = np.fft.irfft2(spectrum * fall, (side, side))
    layers /= layers.std((2, 3), keepdims=True)
    light = rng.uniform(0.35, 0.65, (n, 1, 1, 1)) + rng.uniform(0.14, 0.22, (n, 1, 1, 1)) * layers[:, :1]
    colour = light + 0.04 * layers[:, 1:]
    return np.ascontiguousarray(np.rint(255 * colour.clip(0, 1)).astype(np.uint8).transpose(0, 2, 3, 1))


def plant(
    pixels: np.ndarray,
    labels: np.ndarray,
    seed: int,
    near: dict[str, Edit] = NEAR,
    share: float = 0.02,
    wrong: float = 0.05,
) -> Planted:
    """Add a share of exact copies and one of near ones (kinds in turn), each of another original.

    Then a share of `wrong` of all samples gets the label of another class, drawn evenly.
    """
    generator = np.random.default_rng(seed)
    count = round(share * len(pixels))
    sources = generator.permutation(len(pixels))[: 2 * count]
    kinds = ["exact"] * count + [list(near)[turn % len(near)] for turn in range(count)]
    edits: dict[str, Edit] = {"exact": copied, **near}
    copies = [edits[kind](pixels[source], generator) for kind, source in zip(kinds, sources, strict=True)]
    family = np.concatenate([np.arange(len(pixels)), sources])
    truth = labels[family]
    flipped = np.zeros(len(family), bool)
    flipped[generator.permutation(len(family))[: round(wrong * len(family))]] = True
    n_classes = int(labels.max()) + 1
    given = np.where(flipped, (truth + generator.integers(1, n_classes, len(truth))) % n_classes, truth)
    kind = np.array([""] * len(pixels) + kinds)
    everything = np.concatenate([pixels, *(copy[None] for copy in copies)])
    return Planted(everything, given, family, kind, flipped)
