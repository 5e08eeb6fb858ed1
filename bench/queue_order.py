"""In which order should a person look at the review queue? Active learning on digits, some of them hopeless.

    python -m bench.queue_order [--repeats 20]

Each repeat: 80 labelled digits train three small networks (scikit-learn's MLP: quick, and the order does not
depend on ours), which order a queue of 800 others; a fifth of the queue are blends of two classes, which
nobody can label, so that looking at one teaches nothing. A person looks at the first 80 of the queue, what
they could label is added, and three new networks are scored on 500 further digits. Orders: random, the
entropy of the ensemble's mean, and the members' disagreement (mutual information), as `predict` orders.
"""

import argparse

import numpy as np

from stages.lib.review_queue import entropy

LABELLED, QUEUED, LOOKS, SCORED = 80, 800, 80, 500
HOPELESS = 0.2
MEMBERS = 3
ORDERS = ("random", "entropy", "disagreement")


def beliefs(seen: np.ndarray, labels: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
    """Return pred_probs (members, n, 10) of networks trained on the seen."""
    from sklearn.neural_network import MLPClassifier

    found = np.zeros((MEMBERS, len(asked), 10))
    for member in range(MEMBERS):
        model = MLPClassifier((64,), solver="lbfgs", alpha=1e-2, random_state=seed * MEMBERS + member)
        model.fit(seen, labels)
        found[member][:, model.classes_] = model.predict_proba(asked)
    return found


def usefulness(order: str, believed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return how useful each sample of the queue is held to be: (n,)."""
    if order == "random":
        return np.asarray(rng.random(len(believed[0])))
    spread = entropy(believed.mean(0))
    return spread if order == "entropy" else np.asarray(spread - entropy(believed).mean(0))


def repeat(pixels: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, tuple[float, int]]:
    """Return the accuracy after the looks, and how many of them were wasted, by order."""
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(len(labels))
    first, queue, scored = np.split(drawn[: LABELLED + QUEUED + SCORED], [LABELLED, LABELLED + QUEUED])
    hopeless = rng.random(QUEUED) < HOPELESS
    other = rng.permutation(queue)
    hopeless &= labels[other] != labels[queue]
    shown = np.where(hopeless[:, None], (pixels[queue] + pixels[other]) / 2, pixels[queue])
    believed = beliefs(pixels[first], labels[first], shown, seed)
    found = {}
    for order in ORDERS:
        looks = np.argsort(-usefulness(order, believed, rng), kind="stable")[:LOOKS]
        gained = looks[~hopeless[looks]]
        seen = np.concatenate([pixels[first], shown[gained]])
        known = np.concatenate([labels[first], labels[queue[gained]]])
        after = beliefs(seen, known, pixels[scored], seed + 1000).mean(0)
        found[order] = (float((after.argmax(1) == labels[scored]).mean()), int(hopeless[looks].sum()))
    return found


def main() -> None:
    """Repeat and print means with their standard errors."""
    from sklearn.datasets import load_digits

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    pixels, labels = load_digits(return_X_y=True)
    results = [repeat(pixels / 16, labels, seed) for seed in range(asked.repeats)]
    base = np.array([result["random"][0] for result in results])
    for order in ORDERS:
        accuracy = np.array([result[order][0] for result in results])
        wasted = np.mean([result[order][1] for result in results])
        gain = accuracy - base
        error = gain.std(ddof=1) / len(gain) ** 0.5
        print(
            f"{order:13s} accuracy {accuracy.mean():.4f}, over random {gain.mean():+.4f} "
            f"(standard error {error:.4f}), {wasted:.1f} of {LOOKS} looks wasted"
        )


if __name__ == "__main__":
    main()
