"""Hold the curated data to its expectations, and stop the chain where a critical one fails.

From: curated samples, copies, label scores, quarantine and class counts, joined to three frames: one row a
sample, one a file, one a class. To: verdict.json and Data Docs.
Why so: every later number rests on this data; a training run that starts on broken data costs hours and ends
in a figure that looks like any other. A warning is told and lets pass.
Source: Great Expectations runs the checks; what is checked follows Breck et al. 2019, Data Validation for ML.
Cost: 4 CPU s, most of it the import of Great Expectations; 60,000 samples add under 1.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from stages.lib.artifacts import write_json
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.curated_frames import Evidence, class_columns, file_columns, read_evidence, sample_columns
from stages.lib.data_docs import write_data_docs
from stages.lib.errors import InputError
from stages.lib.expectations import Check, Outcome, Suite, run_suites
from stages.lib.progress import say

STATUSES = ("keep", "drop", "relabel", "neutral")
SHOWN_ROWS = 20
TITLES = {"samples": "Curated samples", "files": "Files seen", "classes": "Classes"}


class Params(Section):
    """Bounds of the expectations that leave a choice."""

    label_issues_warning: float = Field(ge=0, le=1)
    label_issues_critical: float = Field(ge=0, le=1)
    conflicts_critical: float = Field(ge=0, le=1)
    quarantined_warning: float = Field(ge=0, le=1)
    dropped_warning: float = Field(ge=0, le=1)
    min_class_size_warning: int = Field(ge=1)
    imbalance_ratio_warning: float = Field(ge=1)


def sample_checks(params: Params, classes: Sequence[str]) -> list[Check]:
    """Return what is expected of samples."""
    return [
        _not_null("sample_ids_present", "sample_id", "Report this: ingest names every sample."),
        Check(
            "sample_ids_unique",
            "ExpectColumnValuesToBeUnique",
            {"column": "sample_id"},
            "critical",
            "Make the id column of the source unique, or leave it out: ids then come from file content.",
        ),
        _within(
            "labels_known",
            "class_name",
            classes,
            "Run `dvc repro`: the class counts are older than the labels.",
        ),
        _within("statuses_known", "status", STATUSES, "Run `dvc repro curate`."),
        _within(
            "changes_explained",
            "change",
            ("explained",),
            "Run `dvc repro curate`: a sample was changed without a ledger row.",
        ),
        _at_least("widths_positive", "width", 1, "critical", "Run `dvc repro ingest`."),
        _at_least("heights_positive", "height", 1, "critical", "Run `dvc repro ingest`."),
        *_copy_checks(params),
        *_doubt_checks(params),
        _mostly(
            "few_dropped",
            ("fate", "used"),
            params.dropped_warning,
            "warning",
            "See data/curate/ledger.csv for what dropped them; soften the rules in params.yaml (curate).",
        ),
    ]


def _copy_checks(params: Params) -> list[Check]:
    settle = (
        "See data/duplicates/conflicts.csv; say which label is right in data/review/decisions.csv, or set "
        "curate.conflicts to neutral or drop."
    )
    leak = (
        "The official split has one picture in several parts: drop it from one in data/review/decisions.csv, or "
        "leave ingest.split empty. The report says what leaks are worth (duplicate tax)."
    )
    return [
        _mostly("exact_copies_agree", ("exact_copies", "agree"), 0, "warning", settle),
        _mostly("near_copies_agree", ("near_copies", "agree"), 0, "warning", settle),
        _mostly("no_exact_copy_leaks", ("official_split", "agree"), 0, "warning", leak),
        _mostly(
            "few_exact_copies_disagree",
            ("exact_copies", "agree"),
            params.conflicts_critical,
            "critical",
            settle,
        ),
    ]


def _doubt_checks(params: Params) -> list[Check]:
    look = (
        "See the report's suspects and data/label_noise/scores.parquet; correct labels in the source or in "
        "data/review/decisions.csv, or set curate.label_errors."
    )
    column = ("label_noise", "believed")
    return [
        _mostly("few_labels_doubted", column, params.label_issues_warning, "warning", look),
        _mostly("labels_mostly_believed", column, params.label_issues_critical, "critical", look),
    ]


def file_checks(params: Params) -> list[Check]:
    """Return what is expected of files."""
    remedy = "See data/ingest/quarantine.csv for each file and its reason; replace or remove the files."
    return [_mostly("few_quarantined", ("fate", "accepted"), params.quarantined_warning, "warning", remedy)]


def class_checks(params: Params) -> list[Check]:
    """Return what is expected of classes."""
    few = "Add images, merge classes, or set split.rare_classes; accuracy on a small class says little."
    return [
        Check(
            "two_classes",
            "ExpectTableRowCountToBeBetween",
            {"min_value": 2},
            "critical",
            "A classifier needs labelled images of two classes or more: add a folder or label more rows.",
        ),
        _at_least("classes_large_enough", "n", params.min_class_size_warning, "warning", few),
        Check(
            "classes_balanced",
            "ExpectColumnValuesToBeBetween",
            {"column": "largest_to_this", "max_value": params.imbalance_ratio_warning},
            "warning",
            "Add images of the small classes, or try class_balance.strategy; judge by balanced_accuracy.",
        ),
        _mostly(
            "class_names_distinct",
            ("spelling", "its own"),
            0,
            "warning",
            "These names differ from another only in case, space or Unicode form: unite them in the source.",
        ),
    ]


def _not_null(name: str, column: str, remedy: str) -> Check:
    return Check(name, "ExpectColumnValuesToNotBeNull", {"column": column}, "critical", remedy)


def _within(name: str, column: str, values: Sequence[str], remedy: str) -> Check:
    arguments = {"column": column, "value_set": list(values)}
    return Check(name, "ExpectColumnValuesToBeInSet", arguments, "critical", remedy)


def _at_least(name: str, column: str, least: int, severity: Any, remedy: str) -> Check:
    return Check(
        name, "ExpectColumnValuesToBeBetween", {"column": column, "min_value": least}, severity, remedy
    )


def _mostly(name: str, good: tuple[str, str], allowed: float, severity: Any, remedy: str) -> Check:
    """Expect the good word, of good = (column, word), in all rows but the fraction `allowed`."""
    arguments = {"column": good[0], "value_set": [good[1]], "mostly": 1 - allowed}
    return Check(name, "ExpectColumnValuesToBeInSet", arguments, severity, remedy)


def suites(evidence: Evidence, params: Params) -> list[Suite]:
    """Return the three suites with their frames."""
    import pandas as pd

    classes = list(evidence.plan["classes"])
    parts = [
        ("samples", "sample_id", sample_columns(evidence), sample_checks(params, classes)),
        ("files", "file", file_columns(evidence), file_checks(params)),
        ("classes", "class_name", class_columns(evidence), class_checks(params)),
    ]
    # dtype object: pandas would otherwise turn None among numbers into NaN, and text into its own type.
    return [
        Suite(name, key, pd.DataFrame(columns, dtype=object), checks) for name, key, columns, checks in parts
    ]


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
    duplicates: Path,
    label_noise: Path,
    curate: Path,
    class_balance: Path,
    out: Path,
) -> dict[str, Any]:
    """Write verdict.json and docs/; InputError tells every critical failure, after both are written."""
    evidence = read_evidence(ingest, duplicates, label_noise, curate, class_balance)
    found = run_suites(suites(evidence, params))
    outcomes = [outcome for suite in found.values() for outcome in suite]
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
    return summary(found, evidence)


def summary(found: Mapping[str, Sequence[Outcome]], evidence: Evidence) -> dict[str, Any]:
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
        "n_passed": verdicts["passed"],
        "n_warnings": verdicts["warning"],
        "doubted_label_fraction": float(np.divide(beliefs["doubted"], max(judged, 1))),
    }


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
