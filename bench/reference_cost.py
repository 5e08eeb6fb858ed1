"""What k nearest neighbours and support vectors cost at 50,000 images, with 10 and with 10,000 classes.

`python -m bench.reference_cost`: invented pictures of 32 colour pixels, embeddings of 912 numbers, 38,889 to
learn from and 5,556 each in val and test; a class is a direction, in noise. Prints CPU s and peak memory.
"""

import time

import numpy as np

from bench.peak_memory import peak_mib
from stages.baseline import Params
from stages.lib.config import load_section
from stages.lib.dataset import Dataset
from stages.lib.kernel_reference import fit_svc
from stages.lib.neighbour_reference import fit_neighbours
from stages.lib.reference import spaces
from stages.lib.threads import pin_threads

N, SIDE, NUMBERS = 50_000, 32, 912
NOISE = 4.0


def invented(n_classes: int) -> tuple[Dataset, np.ndarray]:
    """Return pictures and embeddings (N, NUMBERS) whose classes overlap."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, n_classes, N)
    centres = rng.normal(size=(n_classes, NUMBERS)).astype(np.float32)
    embeddings = centres[labels] + NOISE * rng.normal(size=(N, NUMBERS)).astype(np.float32)
    pixels = rng.integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8)
    split = np.array(["train"] * 7 + ["val"] * 1 + ["test"] * 1)[np.arange(N) % 9]
    names = tuple(f"class {at}" for at in range(n_classes))
    return Dataset(tuple(map(str, range(N))), pixels, labels, split, names), embeddings


def main() -> None:
    """Print one line for each reference and number of classes."""
    pin_threads()
    params = load_section(Params, "baseline")
    for n_classes in (10, 10_000):
        dataset, embeddings = invented(n_classes)
        rows = dataset.part("val", "test")
        start = time.process_time()
        both = spaces(dataset.pixels, embeddings)
        print(f"{n_classes} classes, {len(dataset.part('train'))} train, {len(rows)} predicted")
        print(f"  spaces {time.process_time() - start:.1f} CPU s")
        for name, fit in (("knn", fit_neighbours), ("svc", fit_svc)):
            start = time.process_time()
            found = fit(both, dataset, rows, params, 0)
            told = found if isinstance(found, str) else found.told
            print(
                f"  {name} {time.process_time() - start:.1f} CPU s, peak {peak_mib():.0f} MiB: {told}",
                flush=True,
            )


if __name__ == "__main__":
    main()
