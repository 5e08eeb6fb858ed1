"""What does each kind of augmentation cost, and what does it look like?

    python -m bench.augmentation [--batch 64] [--pictures FOLDER]

Prints CPU microseconds per image of 32 x 32 x 3, one torch thread, every image changed; the best of REPEATS
takes of CALLS calls. --pictures draws a row a kind, on digits and, where the shared data are
(ASSAY_SHARED_DATA, or ../shared/data), on CIFAR-10's training images.
"""

import argparse
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from stages.lib.augment import Augmentation, augment
from stages.lib.augment_mix import mixed
from stages.lib.batch_picture import COLUMNS, draw_batch
from stages.lib.counters import generator
from stages.lib.digits import read_digits, to_8_bit

CALLS, REPEATS = 20, 5

KINDS = {
    "flip": Augmentation(flip=True),
    "maps": Augmentation(rotation_degrees=15, shift=0.1, zoom=0.1, aspect=0.1, shear=0.1, padding="border"),
    "crop_pixels": Augmentation(crop_pixels=4, padding="reflection"),
    "crop_min_area": Augmentation(crop_min_area=0.3, padding="border"),
    "colour": Augmentation(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
    "downscale": Augmentation(downscale_share=1, downscale_min=0.3),
    "blur": Augmentation(blur_share=1, blur_sigma=1.5),
    "jpeg": Augmentation(jpeg_share=1, jpeg_quality=10),
    "erase": Augmentation(erase_share=1, erase_area=(0.02, 0.33), erase_fill="noise"),
    "cutout": Augmentation(cutout=0.5),
    "randaugment": Augmentation(policy="randaugment", policy_operations=2, policy_magnitude=9),
    "trivial": Augmentation(policy="trivialaugment"),
    "mixup": Augmentation(mix_share=1, mixup_alpha=0.4),
    "cutmix": Augmentation(mix_share=1, cutmix_alpha=1),
    "paste": Augmentation(mix_share=1, paste=True),
}


def changed(images: torch.Tensor, how: Augmentation, randomness: torch.Generator) -> torch.Tensor:
    """Return the images as one step would see them."""
    return mixed(augment(images, how, randomness), how.mixing, randomness)[0]


def cost(images: torch.Tensor, how: Augmentation) -> float:
    """Return CPU microseconds per image."""
    randomness = generator(images.device, "cost")
    takes = []
    for _ in range(REPEATS):
        before = time.process_time()
        for _ in range(CALLS):
            changed(images, how, randomness)
        takes.append(time.process_time() - before)
    return min(takes) / CALLS / len(images) * 1e6


def cifar(n: int) -> torch.Tensor | None:
    """Return CIFAR-10's first n training images (n, 3, 32, 32), None where they are not at hand."""
    from PIL import Image

    path = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10" / "train.parquet"
    if not path.exists():
        return None
    rows = pq.read_table(path, columns=["image"]).slice(0, n)["image"].to_pylist()
    pixels = [np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255


def sources(n: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the names and images (n, C, H, W) that are drawn."""
    digits = torch.from_numpy(to_8_bit(read_digits()[0][:n]))[:, None].float() / 255
    yield "digits", digits
    if (photographs := cifar(n)) is not None:
        yield "cifar", photographs


def draw(path: Path, images: torch.Tensor) -> None:
    """Write one sheet: the images as they are, then a row of views a kind."""
    rows = {"as it is": images}
    rows |= {kind: changed(images, how, generator(images.device, kind)) for kind, how in KINDS.items()}
    tiles = (torch.cat(list(rows.values())).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
    draw_batch(path, tiles.numpy(), [kind for kind in rows for _ in range(len(images))])


def main() -> None:
    """Print the costs, draw the sheets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--pictures", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.rand((asked.batch, 3, 32, 32), generator=generator(torch.device("cpu"), "images"))
    images = images.to(memory_format=torch.channels_last)
    for kind, how in KINDS.items():
        print(f"{kind:14s} {cost(images, how):6.1f} us an image")
    if asked.pictures is not None:
        asked.pictures.mkdir(parents=True, exist_ok=True)
        for name, some in sources(COLUMNS):
            draw(asked.pictures / f"{name}.png", some)


if __name__ == "__main__":
    main()
