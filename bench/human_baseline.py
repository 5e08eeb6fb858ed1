"""Is one person's accuracy recovered from a few opinions a picture, when nobody tells the truth?

    python -m bench.human_baseline [--draws 20] [--train 25000] [--epochs 6] [--probs FILE.npy]

Reads `cifar10/{train,test}.parquet` of the shared data (ASSAY_SHARED_DATA, or ../shared/data). A network of
label_noise's kind learns two annotators' labels (CIFAR-10N) of the first --train training images, and
predicts the others and CIFAR-10H's 5,000 test images; --probs keeps its predictions and takes them from there
again.

- CIFAR-10N, the images that the network did not learn: each pair of annotators, all three, and each half of
  the images; truth is how often they equal clean_label. human_accuracy.TRUTH_WEIGHT was chosen here.
- CIFAR-10H: --draws times two opinions drawn at random from each image's votes; truth is the share of all
  votes (51 an image) that equal the label. Also all votes, and without a classifier. Nothing was chosen here.

Truth and labels are used to score alone. Cost: 100 CPU s for the network, one more for each draw.
"""

import argparse
import io
import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from stages.lib.agreement import pair_agreement, vote_counts
from stages.lib.human_accuracy import independent_accuracy, one_person

K = 10
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
PAIRS = ((0, 1), (0, 2), (1, 2))
CONFIDENCE = 0.95
ROOT = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10"


def pixels_of(images: list[dict[str, bytes]]) -> np.ndarray:
    """Decode (N, 32, 32, 3) uint8."""
    from PIL import Image

    decoded = [np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) for image in images]
    return np.stack(decoded)


def predicted(n_train: int, epochs: int, votes: np.ndarray) -> np.ndarray:
    """Return probabilities (50,000 - n_train + 5,000, K) of what the network did not learn."""
    import torch

    from stages.lib.fold_networks import Networks, predict_fold

    torch.set_num_threads(1)
    train = pq.read_table(ROOT / "train.parquet", columns=["image"])["image"].to_pylist()
    test = pq.read_table(ROOT / "test.parquet", columns=["image", "human_counts"])
    kept = test.filter(test["human_counts"].is_valid())["image"].to_pylist()
    pixels = pixels_of(train + kept)
    targets = np.zeros((len(pixels), K), np.float32)
    targets[: len(votes)] = vote_counts(votes[:, :2], K) / 2
    how = Networks((32, 96, 128), epochs, 0.06, True, True, 0)
    return predict_fold(pixels, targets, np.arange(n_train), np.arange(n_train, len(pixels)), how, 0)


def two_of(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw two opinions from each row of counts (N, K), without putting the first back; (N, K) counts."""
    drawn = np.zeros_like(counts)
    left = counts.copy()
    for _ in range(2):
        place = rng.random(len(left)) * left.sum(1)
        said = (left.cumsum(1) > place[:, None]).argmax(1)
        drawn[np.arange(len(left)), said] += 1
        left[np.arange(len(left)), said] -= 1
    return drawn


def score(name: str, counts: np.ndarray, probs: np.ndarray, truth: float) -> tuple[float, float, bool]:
    """Print an estimate beside the truth; return its error, the naive one's, and whether it is inside."""
    found = one_person(counts, probs, CONFIDENCE)
    naive = independent_accuracy(pair_agreement(counts), K)
    low, high = found.interval
    print(
        f"{name:34s} n {found.n:6d}  truth {truth:.4f}  found {found.accuracy:.4f} ({low:.4f} to {high:.4f}) "
        f"error {100 * (found.accuracy - truth):+.2f}, naive {100 * (naive - truth):+.2f} points"
    )
    return found.accuracy - truth, naive - truth, low <= truth <= high


def on_cifar_10n(votes: np.ndarray, clean: np.ndarray, probs: np.ndarray) -> None:
    """Score every pair and all three annotators on the images that the network did not learn."""
    right = votes == clean[:, None]
    for people in (*PAIRS, (0, 1, 2)):
        for half, rows in (("", slice(None)), (", even", slice(0, None, 2)), (", odd", slice(1, None, 2))):
            name = f"annotators {', '.join(str(person + 1) for person in people)}{half}"
            said = votes[rows][:, people]
            score(name, vote_counts(said, K), probs[rows], float(right[rows][:, people].mean()))


def on_cifar_10h(counts: np.ndarray, labels: np.ndarray, probs: np.ndarray, draws: int) -> None:
    """Score `draws` draws of two opinions an image, then all opinions."""
    shares = counts / counts.sum(1, keepdims=True)
    truth = float(shares[np.arange(len(labels)), labels].mean())
    even = np.full(probs.shape, 1 / K)
    for kind, given in (("classifier", probs), ("no classifier", even)):
        found = []
        for draw in range(draws):
            two = two_of(counts, np.random.default_rng(draw))
            found.append(score(f"two opinions, {kind}, draw {draw}", two, given, truth))
        errors, naive, inside = (100 * np.array(column) for column in zip(*found, strict=True))
        near = int((np.abs(errors) <= 0.5).sum())
        print(
            f"{kind}: {int(inside.sum() / 100)} of {draws} inside, {near} within 0.5 points; "
            f"error {errors.mean():+.2f} ± {errors.std():.2f}, naive {naive.mean():+.2f} points"
        )
    score("all opinions", counts, probs, truth)


def main() -> None:
    """Train or read, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--train", type=int, default=25_000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--probs", type=Path)
    asked = parser.parse_args()
    table = pq.read_table(ROOT / "train.parquet", columns=["annotator_1", "annotator_2", "annotator_3"])
    place = {name: position for position, name in enumerate(CLASSES)}
    votes = np.array([[place[said] for said in column.to_pylist()] for column in table.columns]).T
    clean = pq.read_table(ROOT / "train.parquet", columns=["clean_label"])["clean_label"].to_pylist()
    test = pq.read_table(ROOT / "test.parquet", columns=["label", "human_counts"])
    test = test.filter(test["human_counts"].is_valid())
    if asked.probs is not None and asked.probs.exists():
        probs = np.load(asked.probs)
    else:
        probs = predicted(asked.train, asked.epochs, votes)
        if asked.probs is not None:
            np.save(asked.probs, probs)
    unseen = len(votes) - asked.train
    truth = np.array([place[name] for name in clean])[asked.train :]
    print(f"the network is right on {(probs[:unseen].argmax(1) == truth).mean():.4f} of {unseen} images")
    on_cifar_10n(votes[asked.train :], truth, probs[:unseen])
    labels = np.array([place[name] for name in test["label"].to_pylist()])
    on_cifar_10h(np.array(test["human_counts"].to_pylist()), labels, probs[unseen:], asked.draws)
    print(f"CPU seconds {time.process_time():.0f}")


if __name__ == "__main__":
    main()
