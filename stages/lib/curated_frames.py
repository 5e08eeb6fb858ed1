"""What validation looks at: the curated data and its findings as columns: a row a sample, file or class."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.lib.artifacts import read_csv, read_json, read_table
from stages.lib.duplicate_findings import FoundPair, exact_clusters, read_pairs
from stages.lib.folder_scan import label_variants
from stages.lib.image_issues import Issue
from stages.lib.label_cues import Cue

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Evidence:
    """What the expectations are held against, as read.

    samples: columns of samples.parquet; scored: sample_id to is_label_issue; pairs, conflicts: positions in
    samples; quarantined: file names; plan: plan.json.
    """

    samples: Columns
    scored: Mapping[str, bool]
    pairs: Sequence[FoundPair]
    conflicts: Sequence[FoundPair]
    quarantined: Sequence[str]
    plan: Mapping[str, Any]


def sample_columns(evidence: Evidence) -> Columns:
    """Return one row a sample; `None` where an expectation has nothing to say of it."""
    samples = evidence.samples
    status, label = samples["status"], samples["label"]
    kept = [s in ("keep", "relabel") and name is not None for s, name in zip(status, label, strict=True)]
    return {
        "sample_id": samples["sample_id"],
        "class_name": [name if ok else None for name, ok in zip(label, kept, strict=True)],
        "status": status,
        "width": samples["width"],
        "height": samples["height"],
        "change": _changes(status, samples["reason"]),
        "fate": ["dropped" if s == "drop" else "used" for s in status],
        "label_noise": _beliefs(samples, kept, evidence.scored),
        "exact_copies": _agreement(exact_clusters(evidence.pairs, len(label)), label, kept),
        "near_copies": _agreement(_near(evidence.conflicts), label, kept),
        "official_split": _agreement(_hinted(evidence, len(label)), samples["split_hint"], kept),
    }


def _changes(status: Sequence[str], reason: Sequence[str]) -> list[str | None]:
    explained = [("explained" if r else "unexplained") for r in reason]
    return [None if s == "keep" else word for s, word in zip(status, explained, strict=True)]


def _beliefs(samples: Columns, kept: Sequence[bool], scored: Mapping[str, bool]) -> list[str | None]:
    """Say which kept labels label_noise doubts; what a rule or a person has decided is no longer in doubt."""
    undecided = [ok and not reason for ok, reason in zip(kept, samples["reason"], strict=True)]
    words = {True: "doubted", False: "believed", None: None}
    found = [words[scored.get(sample_id)] for sample_id in samples["sample_id"]]
    return [word if ok else None for word, ok in zip(found, undecided, strict=True)]


def _near(conflicts: Sequence[FoundPair]) -> list[list[int]]:
    return [[pair.left, pair.right] for pair in conflicts if pair.kind != "exact"]


def _hinted(evidence: Evidence, n: int) -> list[list[int]]:
    """Return the sets of exact copies, each without members that have no official place."""
    hint = evidence.samples["split_hint"]
    return [[row for row in cluster if hint[row]] for cluster in exact_clusters(evidence.pairs, n)]


def _agreement(
    clusters: Iterable[Sequence[int]], label: Sequence[str | None], kept: Sequence[bool]
) -> list[str]:
    """Say of each sample whether a kept copy of it has another label (or official place)."""
    word = ["agree"] * len(label)
    for cluster in clusters:
        members = [row for row in cluster if kept[row]]
        if len({label[row] for row in members}) > 1:
            for row in members:
                word[row] = "disagree"
    return word


def issue_columns(samples: Columns, issues: Mapping[str, Issue]) -> Columns:
    """Return a column a kind of picture issue: found or fine; `None` where the sample was dropped."""
    dropped = [status == "drop" for status in samples["status"]]
    return {
        name: [
            None if gone else "found" if faulty else "fine"
            for gone, faulty in zip(dropped, issue.found.tolist(), strict=True)
        ]
        for name, issue in issues.items()
    }


def cue_columns(cues: Sequence[Cue], told: Sequence[bool]) -> Columns:
    """Return one row a property, whether it gives the label away."""
    return {
        "property": [cue.name for cue in cues],
        "tells": ["the label" if strongly else "little" for strongly in told],
    }


def file_columns(evidence: Evidence) -> Columns:
    """Return one row a file that was seen and not ignored."""
    accepted = [str(name) for name in evidence.samples["source"]]
    return {
        "file": [*accepted, *evidence.quarantined],
        "fate": ["accepted"] * len(accepted) + ["quarantined"] * len(evidence.quarantined),
    }


def class_columns(evidence: Evidence) -> Columns:
    """Return one row a class."""
    counts = {name: entry["n"] for name, entry in evidence.plan["classes"].items()}
    largest = max(counts.values(), default=0)
    alike = {name: best for best, others in label_variants(counts).items() for name in others}
    return {
        "class_name": list(counts),
        "n": list(counts.values()),
        "largest_to_this": [largest / n for n in counts.values()],
        "spelling": [f"like {alike[name]}" if name in alike else "its own" for name in counts],
    }


def read_evidence(
    ingest: Path, duplicates: Path, label_noise: Path, curate: Path, class_balance: Path
) -> Evidence:
    """Read what the earlier stages wrote."""
    columns = ["sample_id", "label", "status", "reason", "width", "height", "mode", "group", "source"]
    columns += ["split_hint"]
    samples = read_table(curate / "samples.parquet", columns).to_pydict()
    scores = read_table(label_noise / "scores.parquet", ["sample_id", "is_label_issue"]).to_pydict()
    ids = samples["sample_id"]
    return Evidence(
        samples=samples,
        scored=dict(zip(scores["sample_id"], scores["is_label_issue"], strict=True)),
        pairs=read_pairs(duplicates / "pairs.csv", ids),
        conflicts=read_pairs(duplicates / "conflicts.csv", ids),
        quarantined=[row["file"] for row in read_csv(ingest / "quarantine.csv")],
        plan=read_json(class_balance / "plan.json"),
    )
