"""Hold the curated data to its expectations, and stop the chain where a critical one fails.

From: curated samples, copies, label scores, quarantine, class counts and the pictures' properties, joined
to four frames: one row a sample, a file, a class, a property; and the curated table as it is, for what
users expect of it themselves (data/review/expectations.yaml, which may be absent). To: verdict.json, Data
Docs, image_issues.csv (pictures that are faulty as pictures: lib/image_issues.py) and cues.csv (properties
of the picture-taking that give the label away: lib/label_cues.py).
Why so: every later number rests on this data; a training run that starts on broken data costs hours and ends
in a figure that looks like any other. A warning is told and lets pass.
Source: Great Expectations runs the checks; what is checked follows Breck et al. 2019, Data Validation for ML.
Cost: 4 CPU s, most of it the import of Great Expectations; 60,000 samples add 3.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.lib.artifacts import read_table, write_csv, write_json
from stages.lib.cli import stage_main
from stages.lib.curated_frames import (
    Columns,
    Evidence,
    class_columns,
    cue_columns,
    file_columns,
    issue_columns,
    read_evidence,
    sample_columns,
)
from stages.lib.data_checks import CheckBounds, class_checks, file_checks, property_checks, sample_checks
from stages.lib.data_docs import write_data_docs
from stages.lib.duplicate_findings import near_groups
from stages.lib.errors import InputError
from stages.lib.expectations import Outcome, Suite, run_suites
from stages.lib.image_issues import COLUMNS as ISSUE_COLUMNS
from stages.lib.image_issues import Issue, issue_rows
from stages.lib.label_cues import Cue
from stages.lib.own_expectations import FILE, read_own_checks
from stages.lib.picture_evidence import label_cues, picture_issues, read_properties
from stages.lib.progress import say

SHOWN_ROWS = 20
TITLES = {
    "samples": "Curated samples",
    "files": "Files seen",
    "classes": "Classes",
    "properties": "Properties of pictures",
    "own": "Your expectations",
}
CUE_COLUMNS = ("property", "class", "balanced_accuracy", "accuracy", "prior_accuracy", "p_value", "is_cue")
CHANCE = 0.05
"""Largest corrected p-value of a cue, the habit of the field; among many samples its strength decides."""


class Params(CheckBounds):
    """Section `validate` of params.yaml: the bounds of the checks and of what counts as a faulty picture."""

    cue_warning: float = Field(gt=0.5, le=1)
    cue_draws: int = Field(ge=19, le=10_000)
    seed: int = Field(ge=0)


@dataclass(frozen=True)
class Pictures:
    """What was found about pictures as pictures; classes are those that the cues refer to."""

    properties: Mapping[str, np.ndarray]
    issues: Mapping[str, Issue]
    cues: Sequence[Cue]
    classes: Sequence[str]


def look_at_pictures(params: Params, samples: Columns, copies: Sequence[str | None], embed: Path) -> Pictures:
    """Find faulty pictures, and properties that give the label away."""
    properties = read_properties(embed, samples["sample_id"])
    issues = picture_issues(samples, properties, params)
    rng = np.random.default_rng(params.seed)
    cues, classes = label_cues(samples, properties, copies, params.cue_draws, rng)
    return Pictures(properties, issues, cues, classes)


def is_cue(cue: Cue, params: Params) -> bool:
    """Say whether a property gives the label away: strongly, and not by chance."""
    return cue.balanced_accuracy >= params.cue_warning and cue.p_value <= CHANCE


def suites(evidence: Evidence, pictures: Pictures, params: Params) -> list[Suite]:
    """Return the built-in suites with their frames."""
    import pandas as pd

    classes = list(evidence.plan["classes"])
    told = [is_cue(cue, params) for cue in pictures.cues]
    parts = [
        (
            "samples",
            "sample_id",
            sample_columns(evidence) | issue_columns(evidence.samples, pictures.issues),
            sample_checks(params, classes),
        ),
        ("files", "file", file_columns(evidence), file_checks(params)),
        ("classes", "class_name", class_columns(evidence), class_checks(params)),
        ("properties", "property", cue_columns(pictures.cues, told), property_checks()),
    ]
    # dtype object: pandas would otherwise turn None among numbers into NaN, and text into its own type.
    return [
        Suite(name, key, pd.DataFrame(columns, dtype=object), checks) for name, key, columns, checks in parts
    ]


def own_suite(review: Path, curate: Path, pictures: Pictures, taken: Sequence[str]) -> list[Suite]:
    """Return the suite of the user's expectations over the curated table, none without a file."""
    if not (review / FILE).exists():
        return []
    table = read_table(curate / "samples.parquet")
    for name, column in pictures.properties.items():
        table = table.append_column(name, pa.array(column))
    checks = read_own_checks(review, table.column_names, taken)
    return [Suite("own", "sample_id", table.to_pandas(), checks)]


def verdict(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return verdict.json's content."""
    return {
        "passed": not any(critical_failures(outcomes)),
        "expectations": [
            {
                "name": outcome.check.name,
                "severity": outcome.check.severity,
                "passed": outcome.passed,
                "statement": outcome.statement,
                "observed": outcome.observed,
                "unexpected": list(outcome.unexpected[:SHOWN_ROWS]),
                "remedy": outcome.check.remedy,
            }
            for outcome in outcomes
        ],
    }


def critical_failures(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes that stop the chain."""
    return [outcome for outcome in outcomes if not outcome.passed and outcome.check.severity == "critical"]


def told(outcome: Outcome) -> str:
    """Return a failed expectation in words: what, how much, which rows, and what to do."""
    rows = [json.dumps(name, ensure_ascii=False) for name in outcome.unexpected[:SHOWN_ROWS]]
    more = f" and {len(outcome.unexpected) - SHOWN_ROWS} more" if len(outcome.unexpected) > SHOWN_ROWS else ""
    lines = [
        f"{outcome.check.severity}: {outcome.check.name}: {outcome.statement} Observed: {outcome.observed}."
    ]
    if rows:
        lines.append(f"    rows: {', '.join(rows)}{more}")
    lines.append(f"    remedy: {outcome.check.remedy}")
    return "\n".join(lines)


def run(
    params: Params,
    *,
    ingest: Path,
    embed: Path,
    duplicates: Path,
    label_noise: Path,
    review: Path,
    curate: Path,
    class_balance: Path,
    out: Path,
) -> dict[str, Any]:
    """Write findings, verdict.json and docs/; then InputError tells every critical failure."""
    evidence = read_evidence(ingest, duplicates, label_noise, curate, class_balance)
    copies = near_groups(duplicates, evidence.samples["sample_id"])
    pictures = look_at_pictures(params, evidence.samples, copies, embed)
    built_in = suites(evidence, pictures, params)
    taken = [check.name for suite in built_in for check in suite.checks]
    found = run_suites(built_in + own_suite(review, curate, pictures, taken))
    outcomes = [outcome for suite in found.values() for outcome in suite]
    write_findings(out, evidence.samples["sample_id"], pictures, params)
    write_json(out / "verdict.json", verdict(outcomes))
    write_data_docs(out / "docs", found, TITLES)
    failures = critical_failures(outcomes)
    warnings = [outcome for outcome in outcomes if not outcome.passed and outcome not in failures]
    for outcome in warnings:
        say(told(outcome))
    if failures:
        raise InputError(
            f"{len(failures)} critical expectation(s) failed; as pages: {out}/docs/index.html\n  "
            + "\n  ".join(told(outcome) for outcome in failures)
        )
    return summary(found, evidence, pictures, params)


def write_findings(out: Path, sample_ids: Sequence[str], pictures: Pictures, params: Params) -> None:
    """Write image_issues.csv and cues.csv."""
    write_csv(out / "image_issues.csv", ISSUE_COLUMNS, issue_rows(sample_ids, pictures.issues))
    rows = [
        (
            cue.name,
            pictures.classes[cue.told_class],
            round(cue.balanced_accuracy, 6),
            round(cue.accuracy, 6),
            round(cue.prior_accuracy, 6),
            round(cue.p_value, 6),
            str(is_cue(cue, params)).lower(),
        )
        for cue in pictures.cues
    ]
    write_csv(out / "cues.csv", CUE_COLUMNS, rows)


def summary(
    found: Mapping[str, Sequence[Outcome]], evidence: Evidence, pictures: Pictures, params: Params
) -> dict[str, Any]:
    """Return the stage's metrics."""
    verdicts = Counter(
        "passed" if outcome.passed else outcome.check.severity
        for suite in found.values()
        for outcome in suite
    )
    beliefs = Counter(sample_columns(evidence)["label_noise"])
    judged = beliefs["doubted"] + beliefs["believed"]
    return {
        "n_samples": len(evidence.samples["sample_id"]),
        "n_expectations": sum(verdicts.values()),
        "n_own_expectations": len(found.get("own", ())),
        "n_passed": verdicts["passed"],
        "n_warnings": verdicts["warning"],
        "doubted_label_fraction": float(np.divide(beliefs["doubted"], max(judged, 1))),
        "image_issues": {name: int(issue.found.sum()) for name, issue in pictures.issues.items()},
        "cues": [cue.name for cue in pictures.cues if is_cue(cue, params)],
        "strongest_cue": round(max((cue.balanced_accuracy for cue in pictures.cues), default=0.5), 6),
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
