"""What the stages before `evaluate` found, read from their folders into records for the report.

Nothing is computed here but counts; each record says which file it came from by its name.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib.artifacts import read_csv, read_json, read_table
from stages.lib.duplicate_findings import read_copies

Row = dict[str, str]

SUSPECT_COLUMNS = ("sample_id", "given_label", "suggested_label", "label_quality")


@dataclass(frozen=True)
class Suspect:
    """A label that the detector doubts, the least believable first; `status` is what curation made of it."""

    sample_id: str
    given_label: str
    suggested_label: str
    label_quality: float
    status: str


@dataclass(frozen=True)
class Curve:
    """One history.csv: its run ("seed 0", "student") and its columns by name, NaN where a cell is empty."""

    run: str
    columns: dict[str, np.ndarray]


@dataclass(frozen=True)
class InsideFound:
    """One trained network from inside: its first filters, its maps' sizes, the val images it was asked."""

    run: str
    filters_png: bytes
    activations: list[Row]
    followed: list[Row]


@dataclass(frozen=True)
class Findings:
    """All that the report shows besides the scores."""

    n_ingested: int
    sources: dict[str, str]
    quarantined: list[Row]
    pairs: list[Row]
    n_in_groups: int
    n_groups: int
    conflicts: list[Row]
    suspects: list[Suspect]
    n_label_scored: int
    noise: dict[str, Any]
    noise_cells: list[Row]
    annotators: list[Row]
    image_issues: list[Row]
    cues: list[Row]
    status_counts: dict[str, int]
    ledger_counts: list[tuple[str, str, str, int]]
    plan: dict[str, Any]
    class_counts: dict[str, dict[str, int]]
    split_counts: dict[str, int]
    rare: list[Row]
    queue: list[Row]
    leaks: list[Row]
    verdict: dict[str, Any]
    preflight: dict[str, Any]
    batch_png: bytes
    rates: list[Row]
    suggested_rate: float
    inside: InsideFound
    human: dict[str, Any]
    curves: list[Curve]


@dataclass(frozen=True)
class Folders:
    """Where each stage left its findings."""

    ingest: Path
    duplicates: Path
    label_noise: Path
    curate: Path
    class_balance: Path
    validate: Path
    split: Path
    baseline: Path
    preflight: Path
    train: Path
    distill: Path
    predict: Path


def read_findings(folders: Folders) -> Findings:
    """Read every stage's findings."""
    manifest = read_table(folders.ingest / "manifest.parquet", ["sample_id", "source"])
    samples = read_table(folders.curate / "samples.parquet", ["sample_id", "label", "status"]).to_pylist()
    status = {row["sample_id"]: row["status"] for row in samples}
    labels = {row["sample_id"]: row["label"] for row in samples}
    place = {row["sample_id"]: row["split"] for row in read_csv(folders.split / "splits.csv")}
    groups = read_table(folders.duplicates / "groups.parquet", ["group_id"])["group_id"].to_pylist()
    suspects, n_scored = read_suspects(folders.label_noise, status)
    ledger = read_csv(folders.curate / "ledger.csv")
    return Findings(
        n_ingested=len(manifest),
        sources=dict(zip(manifest["sample_id"].to_pylist(), manifest["source"].to_pylist(), strict=True)),
        quarantined=read_csv(folders.ingest / "quarantine.csv"),
        pairs=read_copies(folders.duplicates / "pairs.csv"),
        n_in_groups=len(groups),
        n_groups=len(set(groups)),
        conflicts=read_csv(folders.duplicates / "conflicts.csv"),
        suspects=suspects,
        n_label_scored=n_scored,
        noise=read_json(folders.label_noise / "metrics.json"),
        noise_cells=read_csv(folders.label_noise / "noise_matrix.csv"),
        annotators=read_csv(folders.label_noise / "annotators.csv"),
        image_issues=read_csv(folders.validate / "image_issues.csv"),
        cues=read_csv(folders.validate / "cues.csv"),
        status_counts=dict(sorted(Counter(status.values()).items())),
        ledger_counts=count_changes(ledger),
        plan=read_json(folders.class_balance / "plan.json"),
        class_counts=count_classes(labels, place, read_json(folders.split / "classes.json")),
        split_counts=dict(sorted(Counter(place.values()).items())),
        rare=read_csv(folders.split / "rare.csv"),
        queue=read_csv(folders.predict / "review_queue.csv"),
        leaks=read_leaked(folders.split, labels),
        verdict=read_json(folders.validate / "verdict.json"),
        preflight=read_json(folders.preflight / "checks.json"),
        batch_png=(folders.preflight / "batch.png").read_bytes(),
        rates=read_csv(folders.preflight / "rates.csv"),
        suggested_rate=read_json(folders.preflight / "metrics.json")["suggested_learning_rate"],
        inside=read_inside(seed_folders(folders.train)[0]),
        human=read_json(folders.baseline / "human.json"),
        curves=read_curves(folders.train, folders.distill),
    )


def read_suspects(label_noise: Path, status: dict[str, str]) -> tuple[list[Suspect], int]:
    """Return the doubted labels, the least believable first, and how many labels were scored."""
    rows = read_table(label_noise / "scores.parquet").to_pylist()
    doubted = sorted(
        (row for row in rows if row["is_label_issue"]),
        key=lambda row: (row["label_quality"], row["sample_id"]),
    )
    found = [
        Suspect(status=status.get(row["sample_id"], ""), **{name: row[name] for name in SUSPECT_COLUMNS})
        for row in doubted
    ]
    return found, len(rows)


def read_leaked(split: Path, labels: dict[str, str | None]) -> list[Row]:
    """Return the test samples that resemble one of train, nearest first, with both labels beside the ids."""
    rows = [
        row
        for row in read_csv(split / "leaks.csv")
        if (row["split"], row["other_split"]) == ("test", "train")
    ]
    rows.sort(key=lambda row: (float(row["distance"] or "inf"), row["sample_id"]))
    return [
        row | {"label": labels[row["sample_id"]] or "", "other_label": labels[row["other_sample_id"]] or ""}
        for row in rows
    ]


def count_changes(ledger: list[Row]) -> list[tuple[str, str, str, int]]:
    """Return (action, rule, who, n) of the ledger, the most frequent first."""
    counts = Counter((row["action"], row["rule"], row["who"]) for row in ledger)
    return sorted(((*key, n) for key, n in counts.items()), key=lambda row: (-row[3], row[:3]))


def count_classes(
    labels: dict[str, str | None], place: dict[str, str], classes: list[str]
) -> dict[str, dict[str, int]]:
    """Return {class: {train, val, test: n}} in the order of `classes`."""
    counts = Counter((labels.get(sample_id), split) for sample_id, split in place.items())
    return {name: {split: counts[name, split] for split in ("train", "val", "test")} for name in classes}


def seed_folders(train: Path) -> list[Path]:
    """Return the folder of every seed, by number."""
    found = (path.parent for path in train.glob("seed*/history.csv"))
    return sorted(found, key=lambda path: int(path.name.removeprefix("seed")))


def read_inside(seed: Path) -> InsideFound:
    """Read what the training of one seed says of its network."""
    return InsideFound(
        f"seed {seed.name.removeprefix('seed')}",
        (seed / "filters.png").read_bytes(),
        read_csv(seed / "activations.csv"),
        read_csv(seed / "followed.csv"),
    )


def read_curves(train: Path, distill: Path) -> list[Curve]:
    """Return the history of every seed, by number, then the student's."""
    found = seed_folders(train)
    runs = [(f"seed {path.name.removeprefix('seed')}", path / "history.csv") for path in found]
    student = distill / "history.csv"
    if student.exists():
        runs.append(("student", student))
    return [Curve(run, _columns(read_csv(path))) for run, path in runs]


def _columns(rows: list[Row]) -> dict[str, np.ndarray]:
    found = {}
    for name in rows[0] if rows else ():
        cells = [row[name] for row in rows]
        if all(_is_number(cell) for cell in cells):
            found[name] = np.array([float(cell) if cell else np.nan for cell in cells])
    return found


def _is_number(cell: str) -> bool:
    return not cell or cell.removeprefix("-").replace(".", "", 1).replace("e-", "", 1).isdigit()
