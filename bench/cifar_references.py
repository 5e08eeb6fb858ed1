"""What the references reach on photographs, and what they cost: CIFAR-10 of the shared data.

`python -m bench.cifar_references 10000`: so many training images (four fifths to learn from, the rest
to choose on), and the first 2,000 test images; further words name the references to make (default: all of
params.yaml). Prints test accuracy, what val chose, and CPU seconds.
"""

import argparse
import time

import numpy as np

from bench.cifar10_images import read
from stages.baseline import Params, reference
from stages.embed import Params as EmbedParams
from stages.embed import embed_all
from stages.lib.config import load_section
from stages.lib.dataset import Dataset
from stages.lib.threads import pin_threads

N_TEST = 2_000


def main() -> None:
    """Print one line a reference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n", type=int)
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    n = asked.n
    pin_threads()
    (pixels, labels, classes), (more, also, _) = read("train", n), read("test", N_TEST)
    split = np.array(["train", "train", "train", "train", "val"])[np.arange(n) % 5]
    dataset = Dataset(
        tuple(map(str, range(n + N_TEST))),
        np.concatenate([pixels, more]),
        np.concatenate([labels, also]),
        np.concatenate([split, np.full(N_TEST, "test")]),
        classes,
    )
    embeddings = embed_all(dataset.pixels, load_section(EmbedParams, "embed"))
    rows, params = dataset.part("test"), load_section(Params, "baseline")
    for name in asked.names or params.references:
        start = time.process_time()
        found = reference(name, dataset, embeddings, np.concatenate([dataset.part("val"), rows]), params)
        spent = time.process_time() - start
        if isinstance(found, str):
            print(f"{name}: {found}")
            continue
        right = float((found.pred_probs[-N_TEST:].argmax(1) == dataset.labels[rows]).mean())
        print(f"{name}: {right:.4f} of {N_TEST}, {spent:.1f} CPU s {found.told}", flush=True)


if __name__ == "__main__":
    main()
