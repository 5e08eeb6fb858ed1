"""What the detectors found, brought into the manifest's order for curation to act on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.lib.artifacts import read_table
from stages.lib.duplicate_findings import FoundPair, near_distances, near_groups, read_pairs
from stages.lib.label_roles import labels_made_of_votes, neutral_labels


@dataclass(frozen=True)
class Votes:
    """What annotators and model say together of each sample (N).

    label (N,): the consensus, None without votes; quality (N,) float64: its probability; agreement (N,)
    float64: share of the votes that it got; both NaN without votes. n (N,) int64: how many voted.
    """

    label: list[str | None]
    quality: np.ndarray
    agreement: np.ndarray
    n: np.ndarray


@dataclass(frozen=True)
class Findings:
    """What the detectors say, by position in the manifest (N samples).

    pairs: copies; conflicts: pairs whose labels differ; near (N,): the group of near copies or None;
    distance (N,) float64: to the nearest member of it; suggested (N,): a label or None; quality (N,) float64,
    NaN where unlabelled; suspect (N,) bool: label_noise calls the label an issue; neutral: labels that are no
    class, as the manifest says; made_of_votes: all labels of the manifest are annotators' pluralities.
    """

    pairs: list[FoundPair]
    conflicts: list[FoundPair]
    near: list[str | None]
    distance: np.ndarray
    suggested: list[str | None]
    quality: np.ndarray
    suspect: np.ndarray
    votes: Votes
    neutral: frozenset[str] = frozenset()
    made_of_votes: bool = False


def read_findings(duplicates: Path, label_noise: Path, manifest: pa.Table) -> Findings:
    """Read both detectors' records; samples that a detector does not know stay without a finding."""
    ids = manifest["sample_id"].to_pylist()
    wanted = {"suggested_label": None, "label_quality": np.nan, "is_label_issue": False}
    suggested, quality, suspect = _joined(label_noise / "scores.parquet", ids, wanted)
    return Findings(
        pairs=read_pairs(duplicates / "pairs.csv", ids),
        conflicts=read_pairs(duplicates / "conflicts.csv", ids),
        near=near_groups(duplicates, ids),
        distance=near_distances(duplicates, ids),
        suggested=suggested,
        quality=np.array(quality, np.float64),
        suspect=np.array(suspect, bool),
        votes=_read_votes(label_noise / "consensus.parquet", ids),
        neutral=neutral_labels(manifest),
        made_of_votes=labels_made_of_votes(manifest),
    )


def _read_votes(path: Path, ids: Sequence[str]) -> Votes:
    wanted = {"consensus_label": None, "consensus_quality": np.nan, "agreement": np.nan, "n_votes": 0}
    label, quality, agreement, n = _joined(path, ids, wanted)
    return Votes(label, np.array(quality, np.float64), np.array(agreement, np.float64), np.array(n, np.int64))


def _joined(path: Path, ids: Sequence[str], wanted: dict[str, Any]) -> list[list[Any]]:
    """Return the wanted columns in the order of `ids`, each with its value for samples the file lacks."""
    table = read_table(path, ["sample_id", *wanted])
    position = {sample_id: row for row, sample_id in enumerate(table["sample_id"].to_pylist())}
    rows = [position.get(sample_id) for sample_id in ids]
    columns = [(table[name].to_pylist(), missing) for name, missing in wanted.items()]
    return [[missing if row is None else values[row] for row in rows] for values, missing in columns]
