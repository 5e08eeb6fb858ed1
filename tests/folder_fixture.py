"""Folders of small pictures whose classes can be learnt: stripes of one direction and colour per class."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_class_folders(root: Path, classes: dict[str, int], size: int = 16, seed: int = 0) -> list[Path]:
    """Write `classes[name]` pictures of `size` pixels into `root/name`, PNG and JPEG in turn; give the paths.

    A class is a direction and wave length of stripes and a tint; phase and brightness vary, and every picture
    has spots and noise of its own, so that none is another one shifted. Class names may be anything a folder
    can be called.
    """
    paths = []
    for rank, (name, count) in enumerate(classes.items()):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng([seed, rank, number])
            path = folder / f"{number:04}.{'jpg' if number % 2 else 'png'}"
            Image.fromarray(stripes(rng, rank, len(classes), size)).save(path)
            paths.append(path)
    return paths


def stripes(rng: np.random.Generator, rank: int, n_classes: int, size: int) -> np.ndarray:
    """Draw one (size, size, 3) uint8 picture of the class with this rank."""
    angle = np.pi * rank / n_classes
    rows, columns = np.mgrid[0:size, 0:size] / size
    wave = np.cos(
        2 * np.pi * (2 + rank % 3) * (rows * np.sin(angle) + columns * np.cos(angle)) + rng.uniform(0, 6.3)
    )
    tint = 0.6 + 0.4 * np.cos(2 * np.pi * (rank / n_classes + np.arange(3) / 3))
    clean = (110 + 45 * wave[..., None]) * tint * rng.uniform(0.8, 1.2) + spots(rng, size)[..., None]
    return np.clip(clean + rng.normal(0, 10, clean.shape), 0, 255).astype(np.uint8)


def spots(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw what one picture has alone: five soft spots, bright or dark, (size, size)."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    drawn = np.zeros((size, size))
    for _ in range(5):
        row, column = rng.uniform(0, 1, 2)
        width = rng.uniform(0.05, 0.2)
        drawn += rng.choice([-70, 70]) * np.exp(
            -((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2)
        )
    return drawn
