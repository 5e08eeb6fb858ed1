"""What curation makes of labels that three people gave CIFAR-10 (CIFAR-10N), held against the truth.

    python -m bench.cifar_curate [--model network|linear] [--n 50000] [--set epochs=4]

Reads `cifar10/train.parquet` of the shared data (ASSAY_SHARED_DATA, or ../shared/data). Judges once by the
stage `label_noise` with all three annotators, then curates several times by the stage `curate`: labels made
of the votes alone (plurality, consensus, with annotators who disagree set aside), and annotator_1's labels
with what a sure consensus may change. clean_label, which no stage reads, scores what comes out. No setting
was chosen by these figures.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.cifar_label_noise import NAMES, judge, params_of, read
from stages import curate
from stages.lib.annotators import vote_shares
from stages.lib.config import load_section, load_view
from stages.lib.curation_findings import Findings, Votes
from stages.lib.label_findings import consensus_table

BOUNDS = (0.5, 0.8, 0.9, 0.95, 0.99)


def plurality(votes: np.ndarray, classes: list[str]) -> list[str | None]:
    """Return what `ingest` makes of votes (n, J): the leading label, None where two lead."""
    shares = vote_shares(votes, len(classes))
    tied = (shares == shares.max(1, keepdims=True)).sum(1) > 1
    return [None if tie else classes[best] for best, tie in zip(shares.argmax(1), tied, strict=True)]


def found_of(labels: list[str | None], consensus: pa.Table, made: bool) -> Findings:
    """Return the findings that only annotators are behind."""
    n = len(labels)
    columns = ("consensus_quality", "agreement", "n_votes")
    votes = Votes(consensus["consensus_label"].to_pylist(), *(consensus[c].to_numpy() for c in columns))
    nothing: list[str | None] = [None] * n
    return Findings(
        [], [], nothing, np.full(n, np.nan), nothing, np.full(n, np.nan), np.zeros(n, bool), votes,
        made_of_votes=made,
    )  # fmt: skip


def curated(labels: list[str | None], found: Findings, **policy: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return label as curated ("" where there is none) and status, (n,) each."""
    nothing = pa.array([None] * len(labels), pa.string())
    ids = pa.array([f"{row:05d}" for row in range(len(labels))])
    columns = {"sample_id": ids, "label": pa.array(labels, pa.string())}
    manifest = pa.table(columns | {"group": nothing, "split_hint": nothing})
    params = curate.Params(**load_section(curate.Params, "curate").model_dump() | policy)
    view = load_view(curate.SplitView, "split")
    with tempfile.TemporaryDirectory() as empty:
        samples, _ = curate.curate_table(manifest, found, params, view, Path(empty))
    return np.array([label or "" for label in samples["label"].to_pylist()]), np.array(samples["status"])


def tell(name: str, label: np.ndarray, truth: np.ndarray) -> None:
    """Print how many samples have a label, and how many of those are right."""
    has = label != ""
    right = (label == truth)[has].mean()
    print(f"{name:58s} labelled {has.sum():6d}, right {right:.4f}, wrong {(label != truth)[has].sum():5d}")


def main() -> None:
    """Judge, curate, score, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("network", "linear"), default="network")
    parser.add_argument("--n", type=int, default=50_000)
    parser.add_argument("--set", nargs="*", default=[])
    asked = parser.parse_args()
    pixels, columns, classes = read(asked.n)
    labelled, judged = judge(pixels, columns, classes, NAMES, params_of(asked.model, asked.set))
    consensus = consensus_table(labelled, judged.votes, judged.consensus)
    truth = np.array(classes)[columns["clean_label"]]
    print(f"n = {len(truth)}, {asked.model}, CPU seconds of judging {time.process_time():.0f}")
    votes_alone = plurality(labelled.votes, classes)
    found = found_of(votes_alone, consensus, made=True)
    start = time.process_time()
    tell("made of votes, plurality", curated(votes_alone, found, labels_from_votes="plurality")[0], truth)
    print(f"  CPU seconds of one curation {time.process_time() - start:.1f}")
    tell("made of votes, consensus outside test", curated(votes_alone, found)[0], truth)
    label, status = curated(votes_alone, found, annotators_disagree="neutral")
    tell("the same, annotators who disagree neutral", label, truth)
    set_aside = np.array(consensus["consensus_label"].to_pylist())[status == "neutral"]
    right = (set_aside == truth[status == "neutral"]).mean()
    print(f"  neutral {len(set_aside)}; their consensus right {right:.4f}")
    one = [classes[position] for position in columns["annotator_1"]]
    tell("annotator_1's labels", np.array(one), truth)
    found = found_of(list(one), consensus, made=False)
    for bound in BOUNDS:
        policy = {"consensus_differs": "relabel", "consensus_min_quality": bound}
        label, status = curated(list(one), found, **policy)
        tell(f"annotator_1, relabelled outside test from {bound}", label, truth)
        new = status == "relabel"
        print(f"  relabelled {new.sum()}: right now {(label == truth)[new].mean():.4f}, "
              f"right before {(np.array(one) == truth)[new].mean():.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
