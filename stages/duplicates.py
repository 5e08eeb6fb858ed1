"""Find exact and near copies, and copies whose labels disagree. Finds only: no data is changed here.

From the stored pixels, the embeddings and the manifest's labels to `pairs.csv` (best first), `conflicts.csv`
(the copies whose labels differ), and `groups.parquet` (every sample that has a copy, with its group).

Exact: equal stored pixels. Near, in three steps:
1. neighbours by embedding (faiss; exact, for large sets by an inverted file), of each picture and, where
   `mirror` says that a mirrored picture is a copy, of its mirror image;
2. the pairs that lie nearest for how dense it is around them (lib/candidates.py);
3. of these, the pairs whose texture agrees, laid over each other by shift and zoom, far better than that of
   neighbours there usually does (lib/alignment.py, lib/copies.py).
The embedding finds copies but also look-alikes; only pixels tell a second file from a second digit.

A set of m equal pictures is written as m - 1 pairs with its first labelled member, not as m (m - 1) / 2.
What people judged (data/review/pairs.csv) overrules what was found: pairs that they call the same are added
as `judged`, near pairs that they call different are left out.

`score` (lib/pair_scores.py): 1 for exact and judged copies, from 0.5 for near ones; below stand, as kind
`look_alike` and where asked for, pairs that the pixels did not confirm, for people to judge: no stage acts on
them. `distance` is 1 - score.

Cost: 2 CPU seconds on digits with imports; bench/cifar_duplicates.py and bench/duplicates_growth.py have it
for 10,000 to 600,000 colour images. Memory: a kilobyte an image beside the neighbour index; what grows beyond
lib/scratch.py's bound is mapped to files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from stages.lib.alignment import Limits
from stages.lib.artifacts import read_npy, read_table, write_csv, write_table
from stages.lib.candidates import candidates
from stages.lib.cli import stage_main
from stages.lib.components import components
from stages.lib.config import Section
from stages.lib.copies import FARTHER, residual_ratios
from stages.lib.duplicate_findings import LOOK_ALIKE
from stages.lib.errors import InputError
from stages.lib.image_store import read_pixels
from stages.lib.judged_pairs import Judgments, read_judgments
from stages.lib.neighbours import Indices, search
from stages.lib.pair_scores import ACCEPTED, score_pairs
from stages.lib.picture_identity import same_picture
from stages.lib.pooling import Floats
from stages.lib.principal import principal
from stages.lib.thumbnails import thumbnails

DIMENSIONS = 160
"""Numbers a vector keeps for the search (lib/principal.py)."""

MIRRORED_NEIGHBOURS = 10
"""Of a mirror image: copies of it lie among the nearest or, the embedding being what it is, nowhere."""

COMPARE_AT_LEAST = 100_000
"""Pairs: a set of 2,500 pictures has all of 40 neighbours compared, which takes seconds."""

COLUMNS = ("sample_id_a", "sample_id_b", "score", "kind", "label_a", "label_b")
Labels = Sequence[str | None]


class Params(Section):
    """Section `duplicates` of params.yaml."""

    neighbours: int = Field(ge=4, le=200)
    mirror: bool
    comparisons: float = Field(gt=0, le=200)
    max_shift: float = Field(ge=0, lt=0.5)
    max_zoom: float = Field(ge=0, le=0.5)
    threshold: float = Field(gt=0, lt=1)
    listed: float = Field(ge=0, le=10)


@dataclass(frozen=True)
class Pair:
    """Two samples (positions in the manifest) that hold the same picture, or look like it.

    kind: exact, judged, near, or look_alike."""

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


def near_pairs(
    pixels: npt.NDArray[np.uint8], embeddings: Floats, rows: Indices, params: Params, mirror: Indices | None
) -> list[Pair]:
    """Pair the distinct pictures `rows` with their near copies, and with the likeliest look-alikes.

    mirror (d,): where each column of a mirrored picture's embedding stands in the picture's own; None: no
    mirrored copies are sought. Too few pictures make no neighbourhood, and no pair.
    """
    k = min(params.neighbours, len(rows) - 1)
    if k < FARTHER:
        return []
    basis = principal(embeddings, DIMENSIONS, mirror)
    vectors = basis.project(embeddings, rows)
    found, mirrored = search(vectors, vectors, k), None
    if mirror is not None:
        turned = basis.mirrored(mirror).project(embeddings, rows)
        mirrored = search(vectors, turned, min(k, MIRRORED_NEIGHBOURS))
    pairs = candidates(found, mirrored, max(COMPARE_AT_LEAST, round(params.comparisons * len(rows))))
    small = thumbnails(pixels, rows)
    limits = Limits.of(small.shape[1], params.max_shift, params.max_zoom)
    ratio = residual_ratios(small, pairs, found.indices, limits, params.threshold)
    score = score_pairs(pairs, ratio, params.threshold)
    count = int((score >= ACCEPTED).sum()) + round(params.listed * len(rows))
    alike = np.argsort(-score, kind="stable")[:count]
    ends = zip(rows[pairs.first[alike]], rows[pairs.second[alike]], score[alike], strict=True)
    return [
        Pair(int(one), int(other), float(value), "near" if value >= ACCEPTED else LOOK_ALIKE)
        for one, other, value in ends
    ]


def list_pairs(
    pixels: npt.NDArray[np.uint8],
    embeddings: Floats,
    sample_ids: Sequence[str],
    labels: Labels,
    params: Params,
    mirror: Indices | None = None,
) -> list[Pair]:
    """Find all copies and list look-alikes, best first, each pair with the smaller sample_id first.

    pixels (n, s, s, c) uint8, embeddings (n, d), both in the order of sample_ids and labels.
    """
    numbers = same_picture(pixels)
    hub = hubs(numbers, sample_ids, labels)
    found = exact_pairs(numbers, hub) + near_pairs(pixels, embeddings, hub, params, mirror)
    named = [_smaller_first(pair, sample_ids) for pair in found]
    return sorted(named, key=lambda p: (-p.score, sample_ids[p.first], sample_ids[p.second]))


def find_pairs(
    pixels: npt.NDArray[np.uint8],
    embeddings: Floats,
    sample_ids: Sequence[str],
    labels: Labels,
    params: Params,
    mirror: Indices | None = None,
) -> list[Pair]:
    """Find all copies, as `list_pairs` does, without the look-alikes."""
    return copies_among(list_pairs(pixels, embeddings, sample_ids, labels, params, mirror))


def with_judgments(found: Sequence[Pair], judged: Judgments) -> list[Pair]:
    """Add the pairs that people call the same shot, best after exact ones, and drop those they do not."""
    exact = [pair for pair in found if pair.kind == "exact"]
    certain = {(pair.first, pair.second) for pair in exact}
    people = [Pair(*pair, 1.0, "judged") for pair in judged.same if pair not in certain]
    settled = {*judged.same, *judged.different}
    open_ = [pair for pair in found if pair.kind != "exact" and (pair.first, pair.second) not in settled]
    return [*exact, *people, *open_]


def copies_among(pairs: Sequence[Pair]) -> list[Pair]:
    """Keep the pairs that are copies."""
    return [pair for pair in pairs if pair.kind != LOOK_ALIKE]


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


def _mirror(embed: Path, asked: bool) -> Indices | None:
    if not asked:
        return None
    if not (embed / "mirror.npy").exists():
        raise InputError(
            f"{embed}/mirror.npy is not there, and duplicates.mirror asks for it: run `dvc repro`"
        )
    columns: Indices = read_npy(embed / "mirror.npy")
    return columns


def run(params: Params, *, ingest: Path, embed: Path, review: Path, out: Path) -> dict[str, float]:
    """Read pixels, embeddings, labels and judgments, write pairs, conflicts and groups."""
    pixels = read_pixels(ingest)
    manifest = read_table(ingest / "manifest.parquet", ["sample_id", "label"])
    embeddings = read_npy(embed / "embeddings.npy", mmap=True)
    ids, labels = pixels.sample_ids, manifest["label"].to_pylist()
    if tuple(manifest["sample_id"].to_pylist()) != ids or len(embeddings) != len(ids):
        raise InputError(f"{ingest} and {embed} hold different samples: run `dvc repro`")
    judged = read_judgments(review, ids, pixels.array)
    found = list_pairs(pixels.array, embeddings, ids, labels, params, _mirror(embed, params.mirror))
    listed, copies = with_judgments(found, judged), copies_among(found)
    pairs = copies_among(listed)
    conflicts, groups = conflicting(pairs, labels), group_table(pairs, ids)
    _write_pairs(out / "pairs.csv", listed, ids, labels)
    _write_pairs(out / "conflicts.csv", conflicts, ids, labels)
    write_table(out / "groups.parquet", groups)
    return {
        "n": len(ids),
        "n_exact_pairs": sum(pair.kind == "exact" for pair in pairs),
        "n_near_pairs": sum(pair.kind == "near" for pair in copies),
        "n_judged_same": len(judged.same),
        "n_judged_same_not_found": len(set(judged.same) - {(pair.first, pair.second) for pair in copies}),
        "n_judged_different": len(judged.different),
        "n_look_alikes": len(listed) - len(pairs),
        "n_groups": len(set(groups["group_id"].to_pylist())),
        "n_conflicts": len(conflicts),
        "threshold": params.threshold,
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
