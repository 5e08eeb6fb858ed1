"""Are the test images of CIFAR-10 that people judged to be in the training set among our first pairs?

    python -m bench.cifar_duplicates [--sheet PATH] [--seed 0] [--set mirror=false]

Reads `cifar10/*.parquet` and `duplicates.csv` of the shared data (ASSAY_SHARED_DATA, or ../shared/data). All
60,000 images go through the functions of embed and duplicates with params.yaml's sections, PHOTOGRAPHS and
--set on top. Of the ranked pairs those of a test and a training image count: the share of the 143
human-judged pairs (ciFAIR: 1 near-duplicate, 2 very similar) among the first 500 and 2,000, for all and for
even and odd test ids; what was chosen on this data was chosen on even ids. CPU seconds are of embed and
duplicates, without decoding. --sheet draws 40 pairs at random of the first 500, for a person to count those
that show the same shot."""

import argparse
import csv
import io
import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml

from bench.peak_memory import peak_mib
from stages import duplicates, embed
from stages.lib.config import load_section
from stages.lib.pair_scores import ACCEPTED

N_TRAIN = 50_000
PHOTOGRAPHS = {"mirror": True}
"""What differs from the defaults, which are for digits: a mirrored photograph is a copy."""

SHEET_PAIRS, SHEET_COLUMNS, ZOOM = 40, 5, 6


def data() -> Path:
    """Return the folder of CIFAR-10."""
    return Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10"


def read_images() -> np.ndarray:
    """Decode training then test images: (60000, 32, 32, 3) uint8."""
    from PIL import Image

    encoded = [
        image["bytes"]
        for name in ("train", "test")
        for image in pq.read_table(data() / f"{name}.parquet", columns=["image"])["image"].to_pylist()
    ]
    return np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in encoded])


def judged() -> dict[tuple[int, int], int]:
    """Return the judgment of each pair (training id, test id)."""
    with (data() / "duplicates.csv").open() as file:
        return {
            (int(row["train_id"]), int(row["test_id"])): int(row["judgment"]) for row in csv.DictReader(file)
        }


def leaks(pairs: list[duplicates.Pair]) -> list[tuple[int, int, float]]:
    """Keep the pairs of a training and a test image, in order: (training id, test id, score)."""
    ends = [(min(p.first, p.second), max(p.first, p.second), p.score) for p in pairs]
    return [(low, high - N_TRAIN, score) for low, high, score in ends if low < N_TRAIN <= high]


def print_found(ranked: list[tuple[int, int, float]], known: dict[tuple[int, int], int]) -> None:
    """Print the share of judged pairs among the first pairs, and of all copies."""
    rank = {(train, test): place for place, (train, test, _) in enumerate(ranked)}
    n_copies = sum(score >= ACCEPTED for *_, score in ranked)
    for first in (500, 2000, n_copies):
        shares = []
        for name, keys in halves(known):
            hits = sum(rank.get(key, len(ranked)) < first for key in keys)
            shares.append(f"{name} {hits / len(keys):.4f} of {len(keys)}")
        what = f"first {first}" if first != n_copies else f"accepted as copies ({n_copies})"
        print(f"judged pairs among {what}: {', '.join(shares)}")


def halves(known: dict[tuple[int, int], int]) -> list[tuple[str, list[tuple[int, int]]]]:
    """Return the judged pairs: all, of even and of odd test ids, and near-duplicates alone."""
    return [
        ("all", list(known)),
        ("even", [key for key in known if key[1] % 2 == 0]),
        ("odd", [key for key in known if key[1] % 2 == 1]),
        ("near-duplicates", [key for key, judgment in known.items() if judgment == 1]),
    ]


def draw(path: Path, images: np.ndarray, ranked: list[tuple[int, int, float]], seed: int) -> None:
    """Draw pairs side by side, each with its rank."""
    from PIL import Image, ImageDraw

    side = 32 * ZOOM
    width, height = 2 * side + 16, side + 16
    rows = -(-SHEET_PAIRS // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * width, rows * height), "white")
    ranks = np.sort(np.random.default_rng(seed).choice(500, SHEET_PAIRS, replace=False))
    for place, rank in enumerate(ranks.tolist()):
        x, y = place % SHEET_COLUMNS * width, place // SHEET_COLUMNS * height
        ImageDraw.Draw(sheet).text((x, y), f"{place}: rank {rank}", fill="black")
        for shift, row in ((0, ranked[rank][0]), (side + 4, N_TRAIN + ranked[rank][1])):
            picture = Image.fromarray(images[row]).resize((side, side), Image.Resampling.BICUBIC)
            sheet.paste(picture, (x + shift, y + 13))
    sheet.save(path)


def main() -> None:
    """Search, score, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[])
    asked = parser.parse_args()
    changes = {key: yaml.safe_load(value) for key, value in (change.split("=") for change in asked.set)}
    section = load_section(duplicates.Params, "duplicates").model_dump() | PHOTOGRAPHS | changes
    params = duplicates.Params.model_validate(section)
    images, started = read_images(), time.process_time()
    described = load_section(embed.Params, "embed")
    vectors = embed.embed_all(images, described)
    embedded = time.process_time()
    ids = [f"{row:05}" for row in range(len(images))]
    mirror = embed.mirrored(described, *images.shape[2:]) if params.mirror else None
    pairs = duplicates.list_pairs(images, vectors, ids, [None] * len(ids), params, mirror)
    searched = time.process_time()
    copies = duplicates.copies_among(pairs)
    print(f"n = {len(images)}, {params}")
    print(f"CPU seconds: embed {embedded - started:.1f}, duplicates {searched - embedded:.1f}")
    print(f"peak memory {peak_mib() / 1024:.2f} GiB")
    print(f"{len(copies)} copies, {len(pairs) - len(copies)} look-alikes; between test and training images:")
    ranked = leaks(pairs)
    print_found(ranked, judged())
    if asked.sheet:
        draw(asked.sheet, images, ranked, asked.seed)


if __name__ == "__main__":
    main()
