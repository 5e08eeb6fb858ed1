"""Does the split keep its promises while CIFAR-10 grows from 10 % to 100 % in ten steps?

    python -m bench.split_growth [--steps 10] [--seed 0] [--n 60000]

Reads the shared data (ASSAY_SHARED_DATA, or ../shared/data): 50,000 + 10,000 images, their official parts put
aside, in a random order. At each step the stages' own functions are called with params.yaml on the images
there are: the finder anew on what is present, then the split. Nothing is handed on from step to step. Two
arms: what the finder finds; the same with the 143 pairs that people judged (ciFAIR) given as a reviewer would
give them, in data/review/pairs.csv. Counted at each step: moves between parts since the last one, those of
them that neither step's moves.csv names, those from train to test, and pairs (found, judged) in two parts.
At the end all images are split once by CIFAR-10's own parts, and what leaks is counted.
The embedding is made once; the finder is most of the cost.
"""

import argparse
import csv
import io
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from stages import duplicates, embed, split
from stages.lib.assignment import PLACES, place_samples
from stages.lib.config import load_section
from stages.lib.division import Samples, divide
from stages.lib.duplicate_findings import FoundPair
from stages.lib.judged_pairs import Judgments
from stages.lib.leaks import find_leaks

ARMS = ("found", "found and judged")
Positions = tuple[int, int]


@dataclass(frozen=True)
class Data:
    """CIFAR-10 in order of arrival: ids, labels, official parts, pixels (N, 32, 32, 3), judged pairs."""

    ids: list[str]
    labels: list[str]
    parts: list[str]
    pixels: np.ndarray
    judged: list[Positions]


def read(n: int, seed: int) -> Data:
    """Read and shuffle; the label of a train image is annotator_1's."""
    from PIL import Image

    root = Path(os.environ.get("ASSAY_SHARED_DATA") or "../shared/data") / "cifar10"
    ids, labels, encoded = [], [], []
    for part, label in (("train", "annotator_1"), ("test", "label")):
        table = pq.read_table(root / f"{part}.parquet", columns=["id", "image", label])
        ids += [f"{part}-{number}" for number in table["id"].to_pylist()]
        labels += table[label].to_pylist()
        encoded += [image["bytes"] for image in table["image"].to_pylist()]
    order = np.random.default_rng(seed).permutation(len(ids))[:n].tolist()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(encoded[k])).convert("RGB")) for k in order])
    ids, labels = [ids[k] for k in order], [str(labels[k]) for k in order]
    position = {name: row for row, name in enumerate(ids)}
    with (root / "duplicates.csv").open(encoding="utf-8", newline="") as file:
        names = [(f"test-{row['test_id']}", f"train-{row['train_id']}") for row in csv.DictReader(file)]
    judged = [(position[a], position[b]) for a, b in names if {a, b} <= position.keys()]
    return Data(ids, labels, [name.split("-")[0] for name in ids], pixels, judged)


@dataclass(frozen=True)
class State:
    """One arm after one step: part by position, positions in moves.csv, pairs that were bound."""

    names: np.ndarray
    logged: frozenset[int]
    why: Counter[str]
    pairs: list[Positions]


def find(data: Data, size: int, vectors: np.ndarray) -> list[duplicates.Pair]:
    """Call the finder on the first `size` images."""
    params = load_section(duplicates.Params, "duplicates")
    return duplicates.find_pairs(
        data.pixels[:size], vectors[:size], data.ids[:size], data.labels[:size], params
    )


def with_judged(data: Data, size: int, found: Sequence[duplicates.Pair]) -> list[duplicates.Pair]:
    """Add what people judged, as `duplicates` does."""
    here = [pair for pair in data.judged if max(pair) < size]
    same = [pair if data.ids[pair[0]] < data.ids[pair[1]] else pair[::-1] for pair in here]
    return duplicates.with_judgments(found, Judgments(tuple(same), ()))


def samples_of(data: Data, size: int, pairs: Sequence[duplicates.Pair], hints: list[str | None]) -> Samples:
    """Return the samples as `split` reads them, with the groups as `duplicates` writes them."""
    ids = data.ids[:size]
    table = duplicates.group_table(pairs, ids).to_pydict()
    group = dict(zip(table["sample_id"], table["group_id"], strict=True))
    near = [group.get(name) for name in ids]
    kept, plain = ["keep"] * size, np.zeros(size, bool)
    none: list[str | None] = [None] * size
    return Samples(ids, list(data.labels[:size]), kept, plain, near, none, hints)


def assign(data: Data, size: int, pairs: Sequence[duplicates.Pair]) -> State:
    """Split the first `size` images."""
    params = load_section(split.Params, "split")
    samples = samples_of(data, size, pairs, [None] * size)
    placement = place_samples(
        samples.sample_ids, samples.group, samples.hint, params.salt, params.fractions[:2]
    )
    division = divide(samples, placement, params.policy)
    rows = split.moves(samples, placement, division)
    position = {name: row for row, name in enumerate(samples.sample_ids)}
    logged = frozenset(position[row[0]] for row in rows)
    bound = [(pair.first, pair.second) for pair in pairs]
    return State(division.names, logged, Counter(row[3] for row in rows), bound)


def straddling(names: np.ndarray, pairs: Sequence[Positions]) -> int:
    """Count the pairs that lie in two different parts."""
    return sum(names[a] != names[b] and {names[a], names[b]} <= set(PLACES) for a, b in pairs)


def report(arm: str, size: int, data: Data, before: State | None, now: State) -> Counter[str]:
    """Print one line of one step, and return its counts."""
    judged = [pair for pair in data.judged if max(pair) < size]
    old = before.names.tolist() if before else []
    moved = [row for row, name in enumerate(old) if now.names[row] != name]
    logged = now.logged | (before.logged if before else frozenset())
    kinds = Counter(f"{old[row] or 'out'} to {now.names[row] or 'out'}" for row in moved)
    counts = Counter(
        {
            "moves": len(moved),
            "unlogged moves": len(set(moved) - logged),
            "train to test": kinds["train to test"],
            "found pairs across": straddling(now.names, now.pairs),
            "judged pairs across": straddling(now.names, judged),
        }
    )
    parts = {name: int((now.names == name).sum()) for name in (*PLACES, "")}
    print(f"{arm}, {size}: {dict(counts)}; {len(now.pairs)} pairs bound, {len(judged)} judged; {parts}")
    print(f"    moves.csv {dict(now.why)}; since the last step {dict(sorted(kinds.items()))}", flush=True)
    return counts


def grow(data: Data, vectors: np.ndarray, steps: int) -> None:
    """Run all arms over all steps, and print the sums."""
    before: dict[str, State] = {}
    total: dict[str, Counter[str]] = {arm: Counter() for arm in ARMS}
    for step in range(1, steps + 1):
        size = len(data.ids) * step // steps
        found = find(data, size, vectors)
        for arm, pairs in zip(ARMS, (found, with_judged(data, size, found)), strict=True):
            now = assign(data, size, pairs)
            # update keeps counts of 0, which are what this is about.
            total[arm].update(report(arm, size, data, before.get(arm), now))
            before[arm] = now
        print(f"    CPU s {time.process_time():.0f}", flush=True)
    official(data, found)
    for arm in ARMS:
        print(f"sum over {steps} steps, {arm}: {dict(total[arm])}")
        print(f"    judged pairs across at the end: {straddling(before[arm].names, data.judged)}")


def official(data: Data, found: Sequence[duplicates.Pair]) -> None:
    """Split all images by the official parts, and print what leaks."""
    n = len(data.ids)
    params = load_section(split.Params, "split")
    for arm, pairs in zip(ARMS, (found, with_judged(data, n, found)), strict=True):
        samples = samples_of(data, n, pairs, list(data.parts))
        placement = place_samples(data.ids, samples.group, samples.hint, params.salt, params.fractions[:2])
        names = divide(samples, placement, params.policy).names
        known = [FoundPair(pair.first, pair.second, pair.score, pair.kind) for pair in pairs]
        leaks = find_leaks(data.ids, names, samples.near, samples.group, known)
        kept = {part: int((names == part).sum()) for part in (*PLACES, "")}
        tally = Counter((leak.split, leak.other_split, leak.reason) for leak in leaks)
        leaked = {leak.sample_id for leak in leaks if (leak.split, leak.other_split) == ("test", "train")}
        print(f"official, {arm}: {kept}; {len(leaked)} of {kept['test']} test images leak; {dict(tally)}")


def main() -> None:
    """Read, embed, grow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=60_000)
    asked = parser.parse_args()
    data = read(asked.n, asked.seed)
    vectors = embed.embed_all(data.pixels, load_section(embed.Params, "embed"))
    print(
        f"n = {len(data.ids)}, {len(data.judged)} judged pairs, CPU s {time.process_time():.0f}", flush=True
    )
    grow(data, vectors, asked.steps)
    print(f"CPU seconds {time.process_time():.0f}")


if __name__ == "__main__":
    main()
