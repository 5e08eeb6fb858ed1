"""Do intervals of 95 % hold the truth in 95 % of repeats, and are equal recipes left equal?

    python -m bench.coverage [--repeats 1000] [--draws 1000] [--only accuracy|difference|f1|auroc|ece|recipes]

Worlds are made up, so that their truth is known: n test samples are drawn from a world again and again, and
the intervals that `evaluate` prints are computed with the code that it uses.
- accuracy: alone, and with half of the samples in groups of three whose members err together;
- difference: two predictions that err on the same samples more than chance has it, likewise;
- f1: macro-F1 and balanced accuracy, classes even and ten to one;
- auroc: scores of light and of heavy tails, classes even and ten to one, and in groups;
- ece: confidences that are right, too high, too low; both kinds of bins, log loss and Brier score;
- recipes: 24 small networks of one recipe with other seeds, on digits and on CIFAR-10 (HOG features, 10,000
  test images of ../shared/data or ASSAY_SHARED_DATA): how often are two of them, or the means of three and
  three, called different? Truth: the recipes are the same.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from stages.lib import metrics
from stages.lib.auroc import auroc
from stages.lib.intervals import accuracy_interval, group_sums, paired_intervals, sign_flip_p_value
from stages.lib.recipe_gain import recipe_gain
from stages.lib.score_intervals import Answers, score_intervals

LEVEL = 0.95
BINS = 15
ROOT = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10"


def report(name: str, held: list[tuple[bool, bool]]) -> None:
    """Print the share of repeats whose interval holds the truth, and how the others miss it."""
    below, above = np.array(held).mean(axis=0)
    print(f"{name:58s} {1 - below - above:.3f}   (too low {below:.3f}, too high {above:.3f})", flush=True)


def missed(interval: tuple[float, float], truth: float) -> tuple[bool, bool]:
    """Return whether the whole interval lies below, and above, the truth."""
    return interval[1] < truth, interval[0] > truth


def in_groups(n: int) -> np.ndarray:
    """Return groups (n,): half of the samples in threes, the others alone."""
    threes = n // 6
    return np.concatenate([np.repeat(np.arange(threes), 3), np.arange(threes, threes + n - 3 * threes)])


def group_luck(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return uniform numbers (n,), alike within a group in two of three samples."""
    shared, own = rng.random(groups.max() + 1)[groups], rng.random(len(groups))
    return np.where(rng.random(len(groups)) < 2 / 3, shared, own)


def accuracies(repeats: int, draws: int, rng: np.random.Generator) -> None:
    """Cover plain accuracies."""
    del draws
    for n, p in ((359, 0.994), (1000, 0.9), (10_000, 0.97)):
        for kind, groups in (("alone", np.arange(n)), ("half in threes", in_groups(n))):
            luck = (group_luck(groups, rng) < p for _ in range(repeats))
            held = [missed(accuracy_interval(right, groups, LEVEL), p) for right in luck]
            report(f"accuracy {p}, n {n}, {kind}", held)


def differences(repeats: int, draws: int, rng: np.random.Generator) -> None:
    """Cover paired differences of two predictions that err on the same samples."""
    for n, a, b in ((359, 0.99, 0.98), (1000, 0.92, 0.9), (1000, 0.9, 0.9), (3000, 0.8, 0.7)):
        for kind, groups in (("alone", np.arange(n)), ("half in threes", in_groups(n))):
            held = []
            for _ in range(repeats):
                luck, other = group_luck(groups, rng), group_luck(groups, rng)
                second = np.where(rng.random(n) < 0.5, luck, other)
                difference = (luck < a).astype(float) - (second < b)
                found = paired_intervals(difference[:, None], groups, draws, LEVEL, rng)[0]
                held.append(missed(found, a - b))
            report(f"difference {a} - {b}, n {n}, {kind}", held)


def world(n_classes: int, accuracy: float, imbalance: float, rng: np.random.Generator) -> np.ndarray:
    """Return the chance (K, K) of each pair of actual and predicted class."""
    prior = np.geomspace(1, imbalance, n_classes)
    prior /= prior.sum()
    right = 1 - (1 - accuracy) * np.linspace(0.4, 1.6, n_classes)
    wrong = rng.dirichlet(np.ones(n_classes), n_classes)
    np.fill_diagonal(wrong, 0)
    wrong *= ((1 - right) / wrong.sum(axis=1))[:, None]
    return np.asarray(prior[:, None] * (wrong + np.diag(right)))


def class_means(repeats: int, draws: int, rng: np.random.Generator) -> None:
    """Cover macro-F1 and balanced accuracy."""
    for n, k, accuracy, imbalance in (
        (359, 10, 0.99, 1),
        (1000, 10, 0.9, 1),
        (1000, 10, 0.9, 10),
        (200, 3, 0.8, 5),
    ):
        chances = world(k, accuracy, imbalance, rng)
        truth = {
            "macro_f1": np.mean(2 * np.diag(chances) / (chances.sum(0) + chances.sum(1))),
            "balanced_accuracy": np.mean(np.diag(chances) / chances.sum(1)),
        }
        held: dict[str, list[tuple[bool, bool]]] = {name: [] for name in truth}
        for repeat in range(repeats):
            cell = rng.choice(k * k, n, p=chances.ravel())
            answers = {"it": Answers(np.eye(k)[cell % k], cell // k)}
            found = score_intervals(answers, np.arange(n), BINS, draws, LEVEL, repeat)["it"]
            for name, value in truth.items():
                held[name].append(missed(found[f"{name}_ci"], value))
        for name, misses in held.items():
            report(f"{name} {truth[name]:.3f}, n {n}, {k} classes, largest {imbalance}x", misses)


def areas(repeats: int, draws: int, rng: np.random.Generator) -> None:
    """Cover the area under the ROC curve, one class against the rest; truth: 300,000 samples."""
    for n, k, lead, imbalance, tails, kind in (
        (359, 10, 5.0, 1, 3, "alone"),
        (1000, 10, 2.0, 1, None, "alone"),
        (1000, 10, 2.0, 10, None, "alone"),
        (1000, 10, 3.5, 1, 5, "half in threes"),
        (1000, 10, 4.0, 1, None, "half in threes"),
        (300, 10, 6.0, 10, 4, "alone"),
        (200, 3, 1.5, 5, None, "alone"),
    ):
        chances = np.geomspace(1, imbalance, k) / np.geomspace(1, imbalance, k).sum()
        large = [told_scores(np.arange(100_000), chances, lead, tails, rng) for _ in range(3)]
        truth = float(np.mean([auroc(*part) for part in large]))
        groups = np.arange(n) if kind == "alone" else in_groups(n)
        held = []
        for repeat in range(repeats):
            answers = {"it": Answers(*told_scores(groups, chances, lead, tails, rng))}
            found = score_intervals(answers, groups, BINS, draws, LEVEL, repeat)["it"]["auroc_ci"]
            held.append(missed(found, truth))
        told = f"tails t{tails}" if tails else "light tails"
        report(f"auroc {truth:.4f}, n {n}, {k} classes, largest {imbalance}x, {told}, {kind}", held)


def told_scores(
    groups: np.ndarray, chances: np.ndarray, lead: float, tails: int | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return pred_probs (N, K) and labels (N,), both alike within a group in two of three samples."""
    n, k = len(groups), len(chances)
    labels = rng.choice(k, n, p=chances)
    logits = rng.normal(size=(n, k)) if tails is None else rng.standard_t(tails, (n, k))
    if groups.max() + 1 < n:
        alike = rng.random(n) < 2 / 3
        labels = np.where(alike, labels[groups], labels)
        logits = np.where(alike[:, None], logits[groups], logits)
    logits[np.arange(n), labels] += lead
    logits = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits / logits.sum(axis=1, keepdims=True), labels


def confidences(
    n: int, sharpness: float, accuracy: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the true chance of being right (n,) and the stated probabilities (n, 10), too sure above 1."""
    logits = rng.normal(size=(n, 10))
    logits[:, 0] += rng.gamma(2.0, accuracy, n)
    logits -= logits.max(axis=1, keepdims=True)
    true, stated = np.exp(logits), np.exp(sharpness * logits)
    return true.max(axis=1) / true.sum(axis=1), stated / stated.sum(axis=1, keepdims=True)


def calibration_errors(repeats: int, draws: int, rng: np.random.Generator) -> None:
    """Cover calibration errors; the truth of a binned error is that of the same bins without chance."""
    for n, sharpness in ((359, 1.1), (1000, 1.0), (1000, 1.3), (1000, 2.0), (1000, 0.7), (3000, 1.1)):
        true, stated = confidences(1_000_000, sharpness, 1.0, rng)
        sure = stated.max(axis=1)
        right, wrong = stated.argmax(axis=1), (stated.argmax(axis=1) + 1) % 10
        truth = {
            "ece": metrics.binned_gap(sure, true, metrics.even_bins(sure, BINS)),
            "ece_adaptive": metrics.binned_gap(sure, true, metrics.full_bins(sure, BINS)),
        }
        for name, losses in (("log_loss", metrics.log_losses), ("brier", metrics.brier_scores)):
            truth[name] = float((true * losses(stated, right) + (1 - true) * losses(stated, wrong)).mean())
        held: dict[str, list[tuple[bool, bool]]] = {name: [] for name in truth}
        for repeat in range(repeats):
            chance, probs = confidences(n, sharpness, 1.0, rng)
            said = probs.argmax(axis=1)
            labels = np.where(rng.random(n) < chance, said, (said + 1) % 10)
            found = score_intervals({"it": Answers(probs, labels)}, np.arange(n), BINS, draws, LEVEL, repeat)
            for name, value in truth.items():
                held[name].append(missed(found["it"][f"{name}_ci"], value))
        for name, value in truth.items():
            report(f"{name} {value:.3f}, n {n}, confidences {sharpness} times as sharp", held[name])


def digits() -> tuple[np.ndarray, np.ndarray, int]:
    """Return features, labels and the number of training rows of digits."""
    from stages.lib.digits import read_digits

    images, labels = read_digits()
    order = np.random.default_rng(0).permutation(len(labels))
    return images.reshape(len(images), -1)[order] / 16.0, labels[order], 900


def cifar() -> tuple[np.ndarray, np.ndarray, int]:
    """Return HOG features, labels and the number of training rows of CIFAR-10, 5,000 to train."""
    import pyarrow.parquet as pq

    from bench.human_baseline import CLASSES, pixels_of
    from stages.lib.hog import hog

    place = {name: position for position, name in enumerate(CLASSES)}
    features, labels = [], []
    for file, column, rows in (("train", "clean_label", 5000), ("test", "label", 10_000)):
        table = pq.read_table(ROOT / f"{file}.parquet", columns=["image", column]).slice(0, rows)
        grey = pixels_of(table["image"].to_pylist()).mean(axis=3).astype(np.float32) / 255
        features.append(hog(grey, 4, 8))
        labels += [place[name] for name in table[column].to_pylist()]
    return np.concatenate(features), np.array(labels), 5000


def recipes(repeats: int, draws: int, rng: np.random.Generator) -> None:
    """Call networks of one recipe different: by one network each, and by three each."""
    for name, source in (("digits", digits), ("CIFAR-10", cifar)):
        features, labels, n_train = source()
        right = networks(features, labels, n_train)
        groups = np.arange(len(right))
        print(f"{name}: 24 networks, n {len(right)}, accuracy {right.mean():.4f} ± {right.mean(0).std():.4f}")
        singles, threes = [], []
        for _ in range(repeats):
            chosen = rng.permutation(right.shape[1])[:6]
            pair = (right[:, chosen[0]] - right[:, chosen[1]])[:, None]
            low, high = paired_intervals(pair, groups, min(draws, 400), LEVEL, rng)[0]
            p_value = sign_flip_p_value(group_sums(pair, groups)[:, 0])
            singles.append(p_value <= 1 - LEVEL and not low <= 0 <= high)
            gain = recipe_gain(right[:, chosen[:3]], right[:, chosen[3:]], groups, LEVEL)
            threes.append(gain is not None and not gain.interval[0] <= 0 <= gain.interval[1])
        print(
            f"{name}: called different, one network each {np.mean(singles):.3f}, three {np.mean(threes):.3f}"
        )


def networks(features: np.ndarray, labels: np.ndarray, n_train: int) -> np.ndarray:
    """Train 24 small networks with other seeds; return correctness (n_test, 24)."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    columns = []
    with warnings.catch_warnings():
        # A fixed, small number of epochs is part of the recipe.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for seed in range(24):
            network = MLPClassifier((32,), learning_rate_init=3e-3, max_iter=12, random_state=seed)
            network.fit(features[:n_train], labels[:n_train])
            columns.append(network.predict(features[n_train:]) == labels[n_train:])
    return np.stack(columns, axis=1).astype(np.float64)


PARTS: dict[str, Callable[[int, int, np.random.Generator], None]] = {
    "accuracy": accuracies,
    "difference": differences,
    "f1": class_means,
    "auroc": areas,
    "ece": calibration_errors,
    "recipes": recipes,
}


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--only", choices=tuple(PARTS))
    asked = parser.parse_args()
    for name, simulate in PARTS.items():
        if asked.only in (None, name):
            simulate(asked.repeats, asked.draws, np.random.default_rng(0))
    print(f"CPU seconds {time.process_time():.0f}")


if __name__ == "__main__":
    main()
