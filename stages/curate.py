"""Apply policy and human decisions to the findings, and write down every change.

From: the manifest, the copies and conflicts of `duplicates`, the scores and the consensus of `label_noise`,
and decisions.csv. To: samples.parquet (the manifest with label as curated, status, given_label, reason, and
how sure the annotators' consensus is) and ledger.csv (a row a change).
Why so: detectors only suspect, so by default nothing is changed but exact copies inside train, which add
weight and no information. Where annotators are the only source of labels, there is no label to change: it is
made here, the consensus outside test, the plurality of people in test. Rules never touch what will be test,
because errors removed by a model from its own exam make the exam easier; only a person may. What a rule would
have done there is in the ledger, as `withheld`.
Source: Northcutt et al. 2021, Pervasive Label Errors in Test Sets, for why test labels need people.
Cost: linear; 0.2 CPU s for 60,000 samples besides reading them.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.lib.artifacts import read_table, write_table
from stages.lib.assignment import place_samples
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.curation_changes import human_changes, rule_changes
from stages.lib.curation_findings import Findings, read_findings
from stages.lib.curation_policy import Policy
from stages.lib.curation_rules import Case, propose
from stages.lib.decisions import read_decisions
from stages.lib.ledger import FINDING_RULES, WITHHELD, Change, apply_ledger, with_uncertainty, write_ledger


class Params(Policy):
    """Section `curate`."""


class SplitView(Section):
    """What of `split` decides where a sample will lie."""

    salt: int
    test_fraction: float
    val_fraction: float


def curate_table(
    manifest: pa.Table, findings: Findings, params: Params, split: SplitView, review: Path
) -> tuple[pa.Table, list[Change]]:
    """Return the curated table and the ledger that leads to it; InputError lists faulty decisions."""
    ids, labels = manifest["sample_id"].to_pylist(), manifest["label"].to_pylist()
    groups, hints = manifest["group"].to_pylist(), manifest["split_hint"].to_pylist()
    fractions = (split.test_fraction, split.val_fraction)
    place = place_samples(ids, groups, hints, split.salt, fractions).place
    given = dict(zip(ids, labels, strict=True))
    classes = {*labels, *findings.votes.label} - {None} - findings.neutral
    rules = rule_changes(ids, labels, place, propose(Case(ids, labels, place, findings, params)))
    changes = [*rules, *human_changes(given, rules, read_decisions(review, given, classes))]
    curated = apply_ledger(manifest, changes)
    return with_uncertainty(curated, findings.votes.quality, findings.votes.agreement), changes


def summary(samples: pa.Table, changes: Sequence[Change]) -> dict[str, Any]:
    """Return counts: samples by status, changes and withheld changes by rule."""
    statuses = Counter(samples["status"].to_pylist())
    done = Counter(change.rule for change in changes if change.action != WITHHELD)
    withheld = Counter(change.rule for change in changes if change.action == WITHHELD)
    return {
        "n": len(samples),
        "status": {name: statuses[name] for name in ("keep", "drop", "relabel", "neutral")},
        "changes": {rule: done[rule] for rule in ("neutral_labels", *FINDING_RULES, "human")},
        "withheld": {rule: withheld[rule] for rule in FINDING_RULES},
    }


def run(
    params: Params,
    *,
    ingest: Path,
    duplicates: Path,
    label_noise: Path,
    review: Path,
    split: SplitView,
    out: Path,
) -> dict[str, Any]:
    """Write samples.parquet and ledger.csv; InputError lists the faulty rows of decisions.csv."""
    manifest = read_table(ingest / "manifest.parquet")
    findings = read_findings(duplicates, label_noise, manifest)
    samples, changes = curate_table(manifest, findings, params, split, review)
    write_table(out / "samples.parquet", samples)
    write_ledger(out / "ledger.csv", changes)
    return summary(samples, changes)


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
