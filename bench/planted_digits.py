"""Do the finders find what was planted? 2 % exact copies, 2 % near copies, 5 % wrong labels in digits.

    python -m bench.planted_digits [--seeds 10]

Calls the pure functions of embed, duplicates and label_noise with the params of params.yaml. Each seed plants
anew. "False" counts strictly: every accepted pair that was not planted; "natural" of these were found on the
clean digits too. The second table plants harder edits, for which there is no bar.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np

from stages import duplicates, embed, label_noise
from stages.lib.config import load_section
from stages.lib.digits import read_digits, to_8_bit
from stages.lib.labelled import Labelled
from stages.lib.picture_identity import same_picture
from tests.planting import NEAR, Edit, Planted, cropped, mirrored, moved_far, plant

HARDER: dict[str, Edit] = {"moved_far": moved_far, "cropped": cropped, "mirrored": mirrored}


@dataclass(frozen=True)
class Tally:
    """One planting: (planted, found) by kind; accepted pairs, false ones, and those clean digits have too."""

    kinds: dict[str, tuple[int, int]]
    accepted: int
    false: int
    natural: int


def copies(planted: Planted, clean: set[tuple[int, int]]) -> tuple[Tally, np.ndarray]:
    """Run embed and duplicates; return the tally and the embeddings."""
    vectors = embed.embed_all(planted.pixels, load_section(embed.Params, "embed"))
    params = load_section(duplicates.Params, "duplicates")
    labels = [str(label) for label in planted.labels]
    pairs = duplicates.find_pairs(planted.pixels, vectors, planted.sample_ids, labels, params)
    groups = duplicates.group_table(pairs, planted.sample_ids).to_pydict()
    group = dict(zip(groups["sample_id"], groups["group_id"], strict=True))
    ids, family = planted.sample_ids, planted.family
    kinds = {}
    for kind in sorted(set(planted.kind) - {""}):
        rows = np.flatnonzero(planted.kind == kind)
        found = [ids[row] in group and group[ids[row]] == group.get(ids[family[row]]) for row in rows]
        kinds[kind] = (len(rows), sum(found))
    false = [(p.first, p.second) for p in pairs if family[p.first] != family[p.second]]
    natural = [pair for pair in false if (family[pair[0]], family[pair[1]]) in clean]
    return Tally(kinds, len(pairs), len(false), len(natural)), vectors


def wrong_labels(planted: Planted, vectors: np.ndarray) -> dict[str, float]:
    """Run label_noise; return average precision of 1 - quality, and how good issues and noise rate are."""
    from sklearn.metrics import average_precision_score

    params = load_section(label_noise.Params, "label_noise")
    pictures = same_picture(planted.pixels)
    n_classes = int(planted.labels.max()) + 1
    classes = [str(name) for name in range(n_classes)]
    votes = np.zeros((len(vectors), 0), np.int64)
    labelled = Labelled([*planted.sample_ids], classes, planted.labels, [], votes, vectors, pictures)
    found = label_noise.judge(labelled, params)
    scores = found.scores
    hits = int((scores.is_label_issue & planted.flipped).sum())
    return {
        "average_precision": float(average_precision_score(planted.flipped, 1 - scores.label_quality)),
        "precision": hits / max(1, int(scores.is_label_issue.sum())),
        "recall": hits / int(planted.flipped.sum()),
        "noise_rate": found.noise.rate,
    }


def clean_pairs(pixels: np.ndarray, labels: np.ndarray) -> set[tuple[int, int]]:
    """Pairs that the digits have by themselves."""
    vectors = embed.embed_all(pixels, load_section(embed.Params, "embed"))
    ids = tuple(f"s{position:06d}" for position in range(len(pixels)))
    params = load_section(duplicates.Params, "duplicates")
    found = duplicates.find_pairs(pixels, vectors, ids, [str(label) for label in labels], params)
    return {(pair.first, pair.second) for pair in found}


def print_copies(tallies: list[Tally]) -> None:
    """Print what was found of each kind, summed over plantings, and the false pairs."""
    for kind in tallies[0].kinds:
        planted, found = np.array([tally.kinds[kind] for tally in tallies]).T
        print(f"{kind:10s} found {found.sum():5d} of {planted.sum():5d} = {found.sum() / planted.sum():.4f}")
    near = [[k for name, k in tally.kinds.items() if name != "exact"] for tally in tallies]
    shares = [sum(found for _, found in row) / sum(n for n, _ in row) for row in near]
    print(f"near copies, share found: mean {np.mean(shares):.4f}, least over seeds {min(shares):.4f}")
    accepted, false = (sum(getattr(tally, name) for tally in tallies) for name in ("accepted", "false"))
    natural = sum(tally.natural for tally in tallies)
    print(f"false pairs: {false} of {accepted} accepted = {false / accepted:.4f}; natural: {natural}")


def main() -> None:
    """Plant, find, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    seeds = range(parser.parse_args().seeds)
    images, labels = read_digits()
    pixels = np.stack(list(to_8_bit(images)))[..., None]
    labels = np.asarray(labels, np.int64)
    clean = clean_pairs(pixels, labels)
    print(f"digits n = {len(pixels)}, {len(seeds)} seeds; pairs found on clean digits: {len(clean)}\n")
    start, tallies, noise = time.process_time(), [], []
    for seed in seeds:
        planted = plant(pixels, labels, seed)
        tally, vectors = copies(planted, clean)
        tallies.append(tally)
        noise.append(wrong_labels(planted, vectors))
    print_copies(tallies)
    print(f"\nwrong labels, n = {len(planted.labels)}, {int(planted.flipped.sum())} wrong")
    for name in noise[0]:
        values = [row[name] for row in noise]
        print(f"{name:18s} mean {np.mean(values):.4f}, least {min(values):.4f}, most {max(values):.4f}")
    print(f"CPU seconds per seed: {(time.process_time() - start) / len(seeds):.2f}")
    print(f"\nharder edits than {', '.join(NEAR)}")
    print_copies([copies(plant(pixels, labels, seed, near=HARDER), clean)[0] for seed in seeds])


if __name__ == "__main__":
    main()
