"""What the chain recorded that a release rests on, gathered into facts; what is missing is said so."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.lib.artifacts import read_csv, read_json, read_table
from stages.lib.claims import UNSEEN, Scored
from stages.lib.components import joined_groups
from stages.lib.errors import InputError
from stages.lib.ledger import WITHHELD
from stages.lib.metrics import top1
from stages.lib.truth import Truth, load_entries

LEARNED = ("train", "val", "test")
SEEN_IN_TRAINING = ("train", "val")


@dataclass(frozen=True)
class Chain:
    """Where each stage left its records."""

    ingest: Path
    duplicates: Path
    curate: Path
    validate: Path
    split: Path
    baseline: Path
    preflight: Path
    predict: Path
    evaluate: Path


def recorded_facts(chain: Chain, model: str) -> dict[str, Any]:
    """Return every fact that the gates ask the chain for; {"missing": why} where there is no record."""
    facts: Mapping[str, Callable[[], Any]] = {
        "preflight": lambda: _failed(chain.preflight / "checks.json", "checks"),
        "validation": lambda: _failed(chain.validate / "verdict.json", "expectations", "critical"),
        "leaked_test_samples": lambda: leaked_test_samples(chain),
        "unusable_samples": lambda: unusable_samples(chain),
        "test_labels_by_rule": lambda: test_labels_by_rule(chain),
        "human": lambda: read_json(chain.baseline / "human.json"),
        "evaluated_top1_accuracy": lambda: read_json(chain.evaluate / "metrics.json")["test"][model][
            "top1_accuracy"
        ],
        "n_samples": lambda: _counts(chain),
    }
    return {name: _or_missing(name, read) for name, read in facts.items()}


def _or_missing(name: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except FileNotFoundError as error:
        return {"missing": f"{Path(error.filename).name} is missing"}
    except (KeyError, TypeError, json.JSONDecodeError, InputError) as error:
        return {"missing": f"the record of {name} cannot be read ({type(error).__name__}: {error})"}


def _failed(path: Path, key: str, severity: str | None = None) -> dict[str, Any]:
    checks = read_json(path)[key]
    asked = [check for check in checks if severity is None or check["severity"] == severity]
    return {"n": len(asked), "failed": [check["name"] for check in asked if not check["passed"]]}


def _places(chain: Chain) -> dict[str, str]:
    return {row["sample_id"]: row["split"] for row in read_csv(chain.split / "splits.csv")}


def leaked_test_samples(chain: Chain) -> int:
    """Count test samples that share a picture or a user's group with a sample of train or val."""
    place = _places(chain)
    manifest = read_table(chain.ingest / "manifest.parquet", ["sample_id", "group"])
    ids = manifest["sample_id"].to_pylist()
    copies = read_table(chain.duplicates / "groups.parquet", ["sample_id", "group_id"])
    picture = dict(zip(copies["sample_id"].to_pylist(), copies["group_id"].to_pylist(), strict=True))
    groups = joined_groups([picture.get(name) for name in ids], manifest["group"].to_pylist())
    where = np.array([place.get(name, "") for name in ids], np.str_)
    seen = set(groups[np.isin(where, SEEN_IN_TRAINING)].tolist())
    return sum(group in seen for group in groups[where == "test"].tolist())


def unusable_samples(chain: Chain) -> int:
    """Count samples that curation did not keep, yet that stand in train, val or test."""
    place = _places(chain)
    samples = read_table(chain.curate / "samples.parquet", ["sample_id", "status"]).to_pylist()
    return sum(
        row["status"] not in ("keep", "relabel") and place.get(row["sample_id"]) in LEARNED for row in samples
    )


def test_labels_by_rule(chain: Chain) -> int:
    """Count ledger rows by which a rule, not a person, changed a test sample."""
    place = _places(chain)
    return sum(
        place.get(row["sample_id"]) == "test" and row["rule"] != "human" and row["action"] != WITHHELD
        for row in read_csv(chain.curate / "ledger.csv")
    )


def _counts(chain: Chain) -> dict[str, int]:
    place = list(_places(chain).values())
    return {name: place.count(name) for name in sorted(set(place))}


def sample_table(chain: Chain) -> pa.Table:
    """Return every sample's id, digest, curated label, status and split: what the release was made from."""
    samples = read_table(chain.curate / "samples.parquet", ["sample_id", "sha256", "label", "status"])
    place = _places(chain)
    splits = pa.array([place.get(name, "") for name in samples["sample_id"].to_pylist()], pa.string())
    return samples.append_column("split", splits)


def compared_predictions(truth: Truth, chain: Chain, model: str) -> dict[str, np.ndarray]:
    """Return the class positions (N,) that every other plain prediction chose, UNSEEN where it has none."""
    entries = load_entries(truth, [chain.baseline / "predictions", chain.predict / "predictions"])
    found = {}
    for name, entry in entries.items():
        if name == model or name.endswith("_tta") or name.startswith("seed"):
            continue
        chosen = np.full(len(truth.labels), UNSEEN, np.int64)
        chosen[entry.positions] = top1(entry.pred_probs)
        found[name] = chosen
    return found


def scored_samples(truth: Truth, chain: Chain, model: str, pred_probs: np.ndarray) -> Scored:
    """Join the truth's N samples with the released model's pred_probs (N, K) and what others chose."""
    manifest = read_table(chain.ingest / "manifest.parquet", ["sample_id", "sha256"])
    digest = dict(zip(manifest["sample_id"].to_pylist(), manifest["sha256"].to_pylist(), strict=True))
    return Scored(
        sample_ids=truth.sample_ids,
        sha256=tuple(digest[name] for name in truth.sample_ids),
        split=truth.split,
        labels=truth.labels,
        groups=truth.groups,
        pred_probs=pred_probs,
        others=compared_predictions(truth, chain, model),
    )


def rescored_difference(chain: Chain, truth: Truth, model: str, pred_probs: np.ndarray) -> float:
    """Return the largest difference between pred_probs (N, K) and the predictions that were judged."""
    entry = load_entries(truth, [chain.predict / "predictions"])[model]
    return float(np.abs(entry.pred_probs - pred_probs[entry.positions]).max())
