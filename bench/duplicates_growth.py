"""What do embed and duplicates cost at 10,000, 60,000 and 600,000 colour images, and what do they still find?

    python -m bench.duplicates_growth 10000 60000 600000

Makes N pictures of 32 pixels from CIFAR-10 (shared data: ASSAY_SHARED_DATA, or ../shared/data), each a blend
of two randomly cropped and mirrored images, so that all differ; every 100th is a copy of the one before it,
moved, cropped, mirrored, recoloured or recompressed in turn. Each size runs in a fresh process. Prints wall
and CPU seconds of both stages, the largest resident set, the share of planted copies found by kind, and of
accepted pairs those not planted (the blends share sources, so a few are true)."""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.cifar_duplicates import read_images
from bench.peak_memory import peak_mib
from stages import duplicates, embed
from stages.lib.config import load_section

ROOT = Path(__file__).parents[1]
EVERY = 100
KINDS = ("moved", "cropped", "mirrored", "recoloured", "recompressed")


def variants(images: np.ndarray, generator: np.random.Generator, n: int) -> np.ndarray:
    """Crop n random images to 20 to 32 pixels a side, enlarge by nearest pixels, mirror half: (n, 32, 32,
    3)."""
    side = generator.integers(20, 33, n)
    start = generator.integers(0, 33 - side[:, None], (n, 2))
    steps = np.arange(32) * side[:, None] // 32
    rows, columns = start[:, :1] + steps, start[:, 1:] + steps
    columns = np.where(generator.random((n, 1)) < 0.5, columns, columns[:, ::-1])
    chosen = generator.integers(0, len(images), n)
    return np.asarray(images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]])


def blends(images: np.ndarray, generator: np.random.Generator, n: int) -> np.ndarray:
    """Mix two variants, one of them weighing 0.25 to 0.75: (n, 32, 32, 3) uint8."""
    weight = generator.uniform(0.25, 0.75, (n, 1, 1, 1)).astype(np.float32)
    mixed = weight * variants(images, generator, n) + (1 - weight) * variants(images, generator, n)
    return np.asarray(np.rint(mixed), np.uint8)


def edited(image: np.ndarray, kind: str, generator: np.random.Generator) -> np.ndarray:
    """Return a near copy (32, 32, 3)."""
    from PIL import Image

    if kind == "moved":
        return np.roll(np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="edge"), (2, -2), (0, 1))[4:36, 4:36]
    if kind == "cropped":
        box = (1.0, 3.0, 29.0, 31.0)
        return np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC, box))
    if kind == "mirrored":
        return image[:, ::-1]
    if kind == "recoloured":
        return np.asarray(np.clip(image * generator.uniform(0.7, 1.3, 3), 0, 255), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def make(path: Path, n: int) -> None:
    """Write n pictures, 10,000 at a time, each block from its own seed."""
    images = read_images()
    pictures = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 32, 32, 3))
    for start in range(0, n, 10_000):
        generator = np.random.default_rng(start)
        count = min(10_000, n - start)
        block = blends(images, generator, count)
        for copy in range(EVERY - 1, count, EVERY):
            kind = KINDS[(start + copy) // EVERY % len(KINDS)]
            block[copy] = edited(block[copy - 1], kind, generator)
        pictures[start : start + count] = block
    pictures.flush()


def measure_here(folder: Path) -> dict[str, object]:
    """Describe and search the pictures of `folder` in this process."""
    pictures = np.load(folder / "pictures.npy", mmap_mode="r")
    described, clock = load_section(embed.Params, "embed"), [(time.monotonic(), time.process_time())]
    mirror = embed.mirrored(described, *pictures.shape[2:])
    vectors = np.lib.format.open_memmap(
        folder / "embeddings.npy", "w+", np.float32, (len(pictures), len(mirror))
    )
    done = 0
    for part in embed.embed_chunks(pictures, described):
        vectors[done : done + len(part)] = part
        done += len(part)
    clock.append((time.monotonic(), time.process_time()))
    section = load_section(duplicates.Params, "duplicates").model_dump() | {"mirror": True}
    params = duplicates.Params.model_validate(section)
    ids = [f"{row:09}" for row in range(len(pictures))]
    pairs = duplicates.find_pairs(pictures, vectors, ids, [None] * len(ids), params, mirror)
    clock.append((time.monotonic(), time.process_time()))
    return cost(clock) | found({(pair.first, pair.second) for pair in pairs}, len(pictures))


def cost(clock: list[tuple[float, float]]) -> dict[str, object]:
    """Return seconds between the marks, and peak memory."""
    (wall0, cpu0), (_, cpu1), (wall2, cpu2) = clock
    return {
        "embed_cpu_s": round(cpu1 - cpu0, 1),
        "duplicates_cpu_s": round(cpu2 - cpu1, 1),
        "wall_s": round(wall2 - wall0, 1),
        "peak_gib": round(peak_mib() / 1024, 2),
    }


def found(pairs: set[tuple[int, int]], n: int) -> dict[str, object]:
    """Return the share of planted copies found, by kind, and how many other pairs were accepted."""
    planted = [(copy - 1, copy) for copy in range(EVERY - 1, n, EVERY)]
    shares = {}
    for turn, kind in enumerate(KINDS):
        own = [pair for pair in planted if pair[1] // EVERY % len(KINDS) == turn]
        shares[kind] = round(sum(pair in pairs for pair in own) / max(1, len(own)), 4)
    return {"n": n, "found": shares, "others": len(pairs - set(planted)), "planted": len(planted)}


def main() -> None:
    """Print one line of JSON a size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sizes", type=int, nargs="*")
    parser.add_argument("--here", type=Path)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(measure_here(asked.here)))
    for n in asked.sizes:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "pictures.npy", n)
            command = [sys.executable, "-m", "bench.duplicates_growth", "--here", folder]
            done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            print(done.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
