"""Apply policy and human decisions to the findings, and write down every change.

From: the manifest, the copies and conflicts of `duplicates`, the scores of `label_noise`, and
decisions.csv.
Why so: detectors only suspect, so by default nothing is changed but exact copies inside train, which add
weight and no information. Rules never touch what will be test, because errors removed by a model from its
own exam make the exam easier; only a person may. What a rule would have done there is in the ledger, as
`withheld`.
Source: Northcutt et al. 2021, Pervasive Label Errors in Test Sets, for why test labels need people.
Cost: linear; 0.2 CPU s for 60,000 samples besides reading them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from stages.lib.artifacts import read_table, write_table
from stages.lib.assignment import PLACES, TEST, TRAIN, place_samples
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.decisions import Decision, read_decisions
from stages.lib.duplicate_findings import FoundPair, exact_clusters, near_distances, near_groups, read_pairs
from stages.lib.label_roles import neutral_labels
from stages.lib.ledger import WITHHELD, Change, State, apply_ledger, write_ledger

CopyAction = Literal["report", "neutral", "drop"]
LabelAction = Literal["report", "neutral", "drop", "relabel"]


class Params(Section):
    """What happens to each kind of finding, and beyond which threshold."""

    conflicts: CopyAction
    conflicts_min_score: float = Field(ge=0, le=1)
    label_errors: LabelAction
    label_errors_max_quality: float = Field(ge=0, le=1)
    exact_copies: CopyAction
    near_copies: CopyAction
    near_copies_max_distance: float = Field(ge=0)


class SplitView(Section):
    """What of `split` decides where a sample will lie."""

    salt: int
    test_fraction: float
    val_fraction: float


@dataclass(frozen=True)
class Findings:
    """What the detectors say, by position in the manifest (N samples).

    pairs: copies; conflicts: pairs whose labels differ; near (N,): the group of near copies or None;
    distance (N,) float64: to the nearest member of it; suggested (N,): a label or None; quality (N,) float64,
    NaN where unlabelled; suspect (N,) bool: label_noise calls the label an issue; neutral: labels that are no
    class, as the manifest says.
    """

    pairs: list[FoundPair]
    conflicts: list[FoundPair]
    near: list[str | None]
    distance: np.ndarray
    suggested: list[str | None]
    quality: np.ndarray
    suspect: np.ndarray
    neutral: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Proposal:
    """What a rule wants of a sample."""

    row: int
    rule: str
    action: str
    label: str | None
    evidence: str


def propose(
    ids: Sequence[str], labels: Sequence[str | None], place: np.ndarray, findings: Findings, params: Params
) -> dict[int, Proposal]:
    """Return at most one proposal a sample; rules that doubt labels come before those that thin copies."""
    chosen: dict[int, Proposal] = {}
    for rule in (_neutral_labels, _conflicts, _label_errors):
        for proposal in rule(ids, labels, findings, params):
            chosen.setdefault(proposal.row, proposal)
    for proposal in _exact_copies(ids, labels, place, findings, params, frozenset(chosen)):
        chosen[proposal.row] = proposal
    for proposal in _near_copies(ids, labels, place, findings, params, frozenset(chosen)):
        chosen[proposal.row] = proposal
    return chosen


def _neutral_labels(
    _ids: Sequence[str], labels: Sequence[str | None], findings: Findings, _params: Params
) -> Iterator[Proposal]:
    for row, label in enumerate(labels):
        if label in findings.neutral:
            yield Proposal(row, "neutral_labels", "neutral", None, f"its label is {label!r}")


def _conflicts(
    ids: Sequence[str], labels: Sequence[str | None], findings: Findings, params: Params
) -> Iterator[Proposal]:
    if params.conflicts == "report":
        return
    # Exact copies are paired with one of them only, so a conflict is looked for in the whole set.
    for cluster in exact_clusters(findings.pairs, len(ids)):
        labelled = [row for row in cluster if labels[row] is not None]
        given = sorted({str(labels[row]) for row in labelled})
        if len(given) > 1:
            evidence = f"exact copies of {ids[cluster[0]]} have labels {', '.join(map(repr, given))}"
            for row in labelled:
                yield Proposal(row, "conflicts", params.conflicts, None, evidence)
    for pair in findings.conflicts:
        if pair.kind != "exact" and pair.score >= params.conflicts_min_score:
            for row, other in ((pair.left, pair.right), (pair.right, pair.left)):
                evidence = (
                    f"{pair.kind} copy {ids[other]} is labelled {labels[other]!r}; score {pair.score!r}"
                )
                yield Proposal(row, "conflicts", params.conflicts, None, evidence)


def _label_errors(
    _ids: Sequence[str], labels: Sequence[str | None], findings: Findings, params: Params
) -> Iterator[Proposal]:
    if params.label_errors == "report":
        return
    with np.errstate(invalid="ignore"):
        hits = findings.suspect & (findings.quality <= params.label_errors_max_quality)
    for row in np.flatnonzero(hits).tolist():
        suggested = findings.suggested[row]
        if params.label_errors == "relabel" and suggested in (None, labels[row]):
            continue
        evidence = f"label_quality {float(findings.quality[row])!r}; suggested {suggested!r}"
        yield Proposal(row, "label_errors", params.label_errors, suggested, evidence)


def _exact_copies(
    ids: Sequence[str],
    labels: Sequence[str | None],
    place: np.ndarray,
    findings: Findings,
    params: Params,
    taken: frozenset[int],
) -> Iterator[Proposal]:
    """Propose all but the first of each set of exact copies with one label in one part of the split."""
    if params.exact_copies == "report":
        return
    for cluster in exact_clusters(findings.pairs, len(ids)):
        for first, row in _later_members(cluster, labels, place, taken):
            yield Proposal(row, "exact_copies", params.exact_copies, None, f"exact copy of {ids[first]}")


def _near_copies(
    ids: Sequence[str],
    labels: Sequence[str | None],
    place: np.ndarray,
    findings: Findings,
    params: Params,
    taken: frozenset[int],
) -> Iterator[Proposal]:
    """Propose all but the first of each near-duplicate group with one label in one part of the split."""
    if params.near_copies == "report":
        return
    groups: dict[str, list[int]] = {}
    for row, group in enumerate(findings.near):
        if group is not None and findings.distance[row] <= params.near_copies_max_distance:
            groups.setdefault(group, []).append(row)
    for members in groups.values():
        for first, row in _later_members(members, labels, place, taken):
            evidence = f"near copy of {ids[first]}; distance {float(findings.distance[row])!r}"
            yield Proposal(row, "near_copies", params.near_copies, None, evidence)


def _later_members(
    members: Iterable[int], labels: Sequence[str | None], place: np.ndarray, taken: frozenset[int]
) -> Iterator[tuple[int, int]]:
    """Yield (first, later) of members that share label and place; unlabelled and changed ones aside."""
    first: dict[tuple[str, int], int] = {}
    for row in members:
        label = labels[row]
        if label is not None and row not in taken:
            kept = first.setdefault((label, int(place[row])), row)
            if kept != row:
                yield kept, row


def rule_changes(
    ids: Sequence[str], labels: Sequence[str | None], place: np.ndarray, proposals: Mapping[int, Proposal]
) -> list[Change]:
    """Return one ledger row a proposal, in manifest order; what a rule may not do there is `withheld`."""
    return [_rule_change(ids[row], labels[row], int(place[row]), proposals[row]) for row in sorted(proposals)]


def _rule_change(sample_id: str, label: str | None, place: int, wish: Proposal) -> Change:
    target = _target(wish.action, label, wish.label)
    note = ""
    action = wish.action
    if not _rule_may(wish.rule, place):
        note = f"would {wish.action}, but it lies in {PLACES[place]}: only a person may"
        action, target = WITHHELD, State("keep", label)
    return Change(
        sample_id,
        action,
        label,
        target.label,
        "keep",
        target.status,
        wish.rule,
        wish.evidence,
        "policy",
        "",
        note,
    )


def _rule_may(rule: str, place: int) -> bool:
    """Say where a rule may act: copies inside train, doubts outside test, neutral labels anywhere."""
    if rule == "neutral_labels":
        return True
    return place == TRAIN if rule in ("exact_copies", "near_copies") else place != TEST


def _target(action: str, given: str | None, wished: str | None) -> State:
    if action == "neutral":
        return State("neutral", None)
    if action == "relabel" and wished != given:
        return State("relabel", wished)
    return State("drop" if action == "drop" else "keep", given)


def human_changes(
    given: Mapping[str, str | None], rules: Sequence[Change], decisions: Sequence[Decision]
) -> list[Change]:
    """Return one ledger row a decision, in row order, each from where earlier rows left the sample."""
    states = {change.sample_id: State(change.to_status, change.to_label) for change in rules}
    changes = []
    for decision in decisions:
        label = given[decision.sample_id]
        before = states.get(decision.sample_id, State("keep", label))
        after = _target(decision.decision, label, decision.label)
        states[decision.sample_id] = after
        changes.append(_human_change(decision, before, after))
    return changes


def _human_change(decision: Decision, before: State, after: State) -> Change:
    return Change(
        sample_id=decision.sample_id,
        action=decision.decision,
        from_label=before.label,
        to_label=after.label,
        from_status=before.status,
        to_status=after.status,
        rule="human",
        evidence=f"decisions.csv row {decision.row}",
        who=decision.who,
        when=decision.when,
        note=decision.note,
    )


def summary(samples: pa.Table, changes: Sequence[Change]) -> dict[str, Any]:
    """Return counts: samples by status, changes and withheld changes by rule."""
    statuses = Counter(samples["status"].to_pylist())
    done = Counter(change.rule for change in changes if change.action != WITHHELD)
    withheld = Counter(change.rule for change in changes if change.action == WITHHELD)
    rules = ("neutral_labels", "conflicts", "label_errors", "exact_copies", "near_copies", "human")
    return {
        "n": len(samples),
        "status": {name: statuses[name] for name in ("keep", "drop", "relabel", "neutral")},
        "changes": {rule: done[rule] for rule in rules},
        "withheld": {rule: withheld[rule] for rule in rules if rule not in ("human", "neutral_labels")},
    }


def read_findings(duplicates: Path, label_noise: Path, manifest: pa.Table) -> Findings:
    """Read both detectors' records and bring them into the manifest's order."""
    ids = manifest["sample_id"].to_pylist()
    columns = ["sample_id", "suggested_label", "label_quality", "is_label_issue"]
    scores = read_table(label_noise / "scores.parquet", columns).to_pydict()
    score = dict(
        zip(scores["sample_id"], zip(*(scores[name] for name in columns[1:]), strict=True), strict=True)
    )
    joined = [score.get(sample_id, (None, np.nan, False)) for sample_id in ids]
    return Findings(
        pairs=read_pairs(duplicates / "pairs.csv", ids),
        conflicts=read_pairs(duplicates / "conflicts.csv", ids),
        near=near_groups(duplicates, ids),
        distance=near_distances(duplicates, ids),
        suggested=[suggested for suggested, _, _ in joined],
        quality=np.array([quality for _, quality, _ in joined], np.float64),
        suspect=np.array([suspect for _, _, suspect in joined], bool),
        neutral=neutral_labels(manifest),
    )


def curate_table(
    manifest: pa.Table, findings: Findings, params: Params, split: SplitView, review: Path
) -> tuple[pa.Table, list[Change]]:
    """Return the curated table and the ledger that leads to it."""
    ids, labels = manifest["sample_id"].to_pylist(), manifest["label"].to_pylist()
    groups, hints = manifest["group"].to_pylist(), manifest["split_hint"].to_pylist()
    fractions = (split.test_fraction, split.val_fraction)
    place = place_samples(ids, groups, hints, split.salt, fractions).place
    given = dict(zip(ids, labels, strict=True))
    classes = {label for label in labels if label is not None} - findings.neutral
    rules = rule_changes(ids, labels, place, propose(ids, labels, place, findings, params))
    changes = [*rules, *human_changes(given, rules, read_decisions(review, given, classes))]
    return apply_ledger(manifest, changes), changes


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
