"""Find exact and near copies, and copies whose labels disagree. Finds only: no data is changed here.

From the stored pixels, the embeddings and the manifest's labels to `pairs.csv` (best first), `conflicts.csv`
(the pairs whose labels differ), and `groups.parquet` (every sample that has a copy, with its group).

Exact: equal stored pixels. Near: among the nearest neighbours by embedding (faiss), pairs that agree pixel by
pixel, at the best small shift, far better than neighbours there usually do (lib/copies.py). Why both steps:
the embedding finds copies but also look-alikes; only pixels tell a second file from a second digit.

A set of m equal pictures is written as m - 1 pairs with its first labelled member, not as m (m - 1) / 2.
What people judged (data/review/pairs.csv) overrules what was found: pairs that they call the same are added
as `judged`, near pairs that they call different are left out.

`score` is 1 for exact and judged copies and 1 - (residual / usual residual) for near ones; `distance` is
1 - score.

Cost: 1 CPU second on digits with imports; 60,000 colour images of 32 x 32 about 3 CPU minutes, half of it
exact neighbour search, which grows with the square of the number of images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from stages.lib.artifacts import read_npy, read_table, write_csv, write_table
from stages.lib.cli import stage_main
from stages.lib.components import components
from stages.lib.config import Section
from stages.lib.copies import near_pairs
from stages.lib.errors import InputError
from stages.lib.image_store import read_pixels
from stages.lib.judged_pairs import Judgments, read_judgments
from stages.lib.picture_identity import same_picture
from stages.lib.pooling import Floats

COLUMNS = ("sample_id_a", "sample_id_b", "score", "kind", "label_a", "label_b")
Labels = Sequence[str | None]


class Params(Section):
    """Section `duplicates` of params.yaml."""

    neighbours: int = Field(ge=4, le=200)
    max_shift: float = Field(ge=0, lt=0.5)
    threshold: float = Field(gt=0, lt=1)


@dataclass(frozen=True)
class Pair:
    """Two samples (positions in the manifest) that hold the same picture; score is 1 for exact copies."""

    first: int
    second: int
    score: float
    kind: str


def hubs(numbers: npt.NDArray[np.int64], sample_ids: Sequence[str], labels: Labels) -> npt.NDArray[np.int64]:
    """Choose who stands for each picture, by picture number: the smallest sample_id, a labelled one if any.

    Labelled first, because disagreement with a sample without a label cannot be seen.
    """
    order = sorted(range(len(numbers)), key=lambda i: (labels[i] is None, sample_ids[i]))
    chosen = np.full(int(numbers.max(initial=-1)) + 1, -1, np.int64)
    for position in reversed(order):
        chosen[numbers[position]] = position
    return chosen


def exact_pairs(numbers: npt.NDArray[np.int64], hub: npt.NDArray[np.int64]) -> list[Pair]:
    """Pair every further sample of a picture with the one that stands for it."""
    stand_in = hub[numbers]
    copies = np.flatnonzero(stand_in != np.arange(len(numbers)))
    return [Pair(int(stand_in[copy]), int(copy), 1.0, "exact") for copy in copies]


def find_pairs(
    pixels: npt.NDArray[np.uint8],
    embeddings: Floats,
    sample_ids: Sequence[str],
    labels: Labels,
    params: Params,
) -> list[Pair]:
    """Find all pairs, best first, each with the smaller sample_id first.

    pixels (n, s, s, c) uint8, embeddings (n, d), both in the order of sample_ids and labels.
    """
    numbers = same_picture(pixels)
    hub = hubs(numbers, sample_ids, labels)
    near = near_pairs(pixels[hub], embeddings[hub], params.neighbours, params.max_shift, params.threshold)
    found = exact_pairs(numbers, hub)
    for first, second, ratio in zip(hub[near.first], hub[near.second], near.ratio, strict=True):
        found.append(Pair(int(first), int(second), 1.0 - float(ratio), "near"))
    named = [_smaller_first(pair, sample_ids) for pair in found]
    kinds = ("exact", "near")
    return sorted(
        named, key=lambda p: (kinds.index(p.kind), -p.score, sample_ids[p.first], sample_ids[p.second])
    )


def with_judgments(found: Sequence[Pair], judged: Judgments) -> list[Pair]:
    """Add the pairs that people call the same shot, best after exact ones, and drop those they do not."""
    exact = [pair for pair in found if pair.kind == "exact"]
    certain = {(pair.first, pair.second) for pair in exact}
    people = [Pair(*pair, 1.0, "judged") for pair in judged.same if pair not in certain]
    settled = {*judged.same, *judged.different}
    near = [pair for pair in found if pair.kind == "near" and (pair.first, pair.second) not in settled]
    return [*exact, *people, *near]


def _smaller_first(pair: Pair, sample_ids: Sequence[str]) -> Pair:
    if sample_ids[pair.first] < sample_ids[pair.second]:
        return pair
    return Pair(pair.second, pair.first, pair.score, pair.kind)


def conflicting(pairs: Sequence[Pair], labels: Labels) -> list[Pair]:
    """Keep the pairs whose samples both have a label, and not the same."""
    return [
        p
        for p in pairs
        if None not in (labels[p.first], labels[p.second]) and labels[p.first] != labels[p.second]
    ]


def group_table(pairs: Sequence[Pair], sample_ids: Sequence[str]) -> pa.Table:
    """Join pairs into groups: one row for every sample that has a copy, by group and sample_id."""
    best: dict[int, Pair] = {}
    for pair in sorted(pairs, key=lambda p: p.kind != "exact"):  # an exact copy outranks a near one
        for member in (pair.first, pair.second):
            best.setdefault(member, pair)
    component = components(len(sample_ids), ((pair.first, pair.second) for pair in pairs))
    members = sorted(best, key=lambda i: sample_ids[i])
    name: dict[int, str] = {}
    for member in members:
        name.setdefault(int(component[member]), sample_ids[member])
    rows = sorted((name[int(component[i])], sample_ids[i], 1 - best[i].score, best[i].kind) for i in members)
    columns = {
        "sample_id": pa.array([row[1] for row in rows], pa.string()),
        "group_id": pa.array([row[0] for row in rows], pa.string()),
        "distance": pa.array([row[2] for row in rows], pa.float32()),
        "reason": pa.array([row[3] for row in rows], pa.string()),
    }
    return pa.table(columns)


def _write_pairs(path: Path, pairs: Sequence[Pair], sample_ids: Sequence[str], labels: Labels) -> None:
    rows = [
        (sample_ids[p.first], sample_ids[p.second], p.score, p.kind, labels[p.first], labels[p.second])
        for p in pairs
    ]
    write_csv(path, COLUMNS, rows)


def run(params: Params, *, ingest: Path, embed: Path, review: Path, out: Path) -> dict[str, float]:
    """Read pixels, embeddings, labels and judgments, write pairs, conflicts and groups."""
    pixels = read_pixels(ingest)
    manifest = read_table(ingest / "manifest.parquet", ["sample_id", "label"])
    embeddings = read_npy(embed / "embeddings.npy")
    ids, labels = pixels.sample_ids, manifest["label"].to_pylist()
    if tuple(manifest["sample_id"].to_pylist()) != ids or len(embeddings) != len(ids):
        raise InputError(f"{ingest} and {embed} hold different samples: run `dvc repro`")
    judged = read_judgments(review, ids, pixels.array)
    found = find_pairs(pixels.array, embeddings, ids, labels, params)
    pairs = with_judgments(found, judged)
    conflicts, groups = conflicting(pairs, labels), group_table(pairs, ids)
    _write_pairs(out / "pairs.csv", pairs, ids, labels)
    _write_pairs(out / "conflicts.csv", conflicts, ids, labels)
    write_table(out / "groups.parquet", groups)
    return {
        "n": len(ids),
        "n_exact_pairs": sum(pair.kind == "exact" for pair in pairs),
        "n_near_pairs": sum(pair.kind == "near" for pair in found),
        "n_judged_same": len(judged.same),
        "n_judged_same_not_found": len(set(judged.same) - {(pair.first, pair.second) for pair in found}),
        "n_judged_different": len(judged.different),
        "n_groups": len(set(groups["group_id"].to_pylist())),
        "n_conflicts": len(conflicts),
        "threshold": params.threshold,
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
