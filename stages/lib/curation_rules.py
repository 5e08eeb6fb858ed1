"""The rules of curation: from findings and policy to what should become of which sample, with the evidence.

A rule only proposes. Whether it may act where the sample lies is decided in `curation_changes.py`. Rules
that doubt labels come before those that thin copies, because a copy with a doubtful label is no stand-in for
others; among the former a person's own word ("not sure") comes first and a model's suspicion last.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stages.lib.curation_findings import Findings
from stages.lib.curation_policy import Policy
from stages.lib.duplicate_findings import exact_clusters

SLACK = 1e-6
"""Shares of votes come as float32: two thirds must not fall below a bound of two thirds."""


@dataclass(frozen=True)
class Case:
    """The N samples of a manifest, the part of the split (N,) each will lie in, and what is known of them."""

    ids: Sequence[str]
    labels: Sequence[str | None]
    place: np.ndarray
    findings: Findings
    policy: Policy


@dataclass(frozen=True)
class Proposal:
    """What a rule wants of a sample."""

    row: int
    rule: str
    action: str
    label: str | None
    evidence: str


def propose(case: Case) -> dict[int, Proposal]:
    """Return at most one proposal a sample, by row."""
    chosen: dict[int, Proposal] = {}
    for doubt in DOUBTS:
        for proposal in doubt(case):
            chosen.setdefault(proposal.row, proposal)
    for thinning in (_exact_copies, _near_copies):
        for proposal in list(thinning(case, frozenset(chosen))):
            chosen[proposal.row] = proposal
    return chosen


def _neutral_labels(case: Case) -> Iterator[Proposal]:
    for row, label in enumerate(case.labels):
        if label in case.findings.neutral:
            yield Proposal(row, "neutral_labels", "neutral", None, f"its label is {label!r}")


def _conflicts(case: Case) -> Iterator[Proposal]:
    action, labels = case.policy.conflicts, case.labels
    if action == "report":
        return
    # Exact copies are paired with one of them only, so a conflict is looked for in the whole set.
    for cluster in exact_clusters(case.findings.pairs, len(case.ids)):
        labelled = [row for row in cluster if labels[row] is not None]
        given = sorted({str(labels[row]) for row in labelled})
        if len(given) > 1:
            evidence = f"exact copies of {case.ids[cluster[0]]} have labels {', '.join(map(repr, given))}"
            for row in labelled:
                yield Proposal(row, "conflicts", action, None, evidence)
    for pair in case.findings.conflicts:
        if pair.kind != "exact" and pair.score >= case.policy.conflicts_min_score:
            for row, other in ((pair.left, pair.right), (pair.right, pair.left)):
                label, score = labels[other], pair.score
                evidence = f"{pair.kind} copy {case.ids[other]} is labelled {label!r}; score {score!r}"
                yield Proposal(row, "conflicts", action, None, evidence)


def _annotators_disagree(case: Case) -> Iterator[Proposal]:
    action, votes = case.policy.annotators_disagree, case.findings.votes
    if action == "report":
        return
    bound = case.policy.annotators_min_agreement - SLACK
    for row in np.flatnonzero((votes.n > 1) & (votes.agreement < bound)).tolist():
        yield Proposal(row, "annotators_disagree", action, None, _voted(case, row))


def _labels_from_votes(case: Case) -> Iterator[Proposal]:
    """Where annotators are the only source of a label, propose the consensus instead of the plurality."""
    if case.policy.labels_from_votes == "plurality":
        return
    for row in np.flatnonzero(case.findings.votes.n > 0).tolist():
        wished = case.findings.votes.label[row]
        if _made_of_votes(case, row) and wished != case.labels[row]:
            yield Proposal(row, "labels_from_votes", "relabel", wished, _voted(case, row))


def _consensus_differs(case: Case) -> Iterator[Proposal]:
    action, votes = case.policy.consensus_differs, case.findings.votes
    if action == "report":
        return
    sure = (votes.n > 0) & (votes.quality >= case.policy.consensus_min_quality - SLACK)
    for row in np.flatnonzero(sure).tolist():
        given = case.labels[row]
        if given is not None and votes.label[row] != given and not _made_of_votes(case, row):
            yield Proposal(row, "consensus_differs", action, votes.label[row], _voted(case, row))


def _made_of_votes(case: Case, row: int) -> bool:
    return case.findings.made_of_votes or case.labels[row] is None


def _voted(case: Case, row: int) -> str:
    votes = case.findings.votes
    return (
        f"consensus {votes.label[row]!r} of probability {_short(votes.quality[row])}; "
        f"{_short(votes.agreement[row])} of {votes.n[row]} votes"
    )


def _short(value: float) -> str:
    return repr(round(float(value), 6))


def _label_errors(case: Case) -> Iterator[Proposal]:
    action, findings = case.policy.label_errors, case.findings
    if action == "report":
        return
    with np.errstate(invalid="ignore"):
        hits = findings.suspect & (findings.quality <= case.policy.label_errors_max_quality)
    for row in np.flatnonzero(hits).tolist():
        suggested = findings.suggested[row]
        if action == "relabel" and suggested in (None, case.labels[row]):
            continue
        evidence = f"label_quality {float(findings.quality[row])!r}; suggested {suggested!r}"
        yield Proposal(row, "label_errors", action, suggested, evidence)


DOUBTS: tuple[Callable[[Case], Iterator[Proposal]], ...] = (
    _neutral_labels,
    _conflicts,
    _annotators_disagree,
    _labels_from_votes,
    _consensus_differs,
    _label_errors,
)
"""Rules that doubt labels, the one that decides first first."""


def _exact_copies(case: Case, taken: frozenset[int]) -> Iterator[Proposal]:
    action, ids = case.policy.exact_copies, case.ids
    if action != "report":
        for first, row in _later(case, exact_clusters(case.findings.pairs, len(ids)), taken):
            yield Proposal(row, "exact_copies", action, None, f"exact copy of {ids[first]}")


def _near_copies(case: Case, taken: frozenset[int]) -> Iterator[Proposal]:
    action, distance = case.policy.near_copies, case.findings.distance
    if action == "report":
        return
    groups: dict[str, list[int]] = {}
    for row, group in enumerate(case.findings.near):
        if group is not None and distance[row] <= case.policy.near_copies_max_distance:
            groups.setdefault(group, []).append(row)
    for first, row in _later(case, groups.values(), taken):
        evidence = f"near copy of {case.ids[first]}; distance {float(distance[row])!r}"
        yield Proposal(row, "near_copies", action, None, evidence)


def _later(case: Case, clusters: Iterable[Iterable[int]], taken: frozenset[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, later) of each cluster's members that share label and place, among those with a label."""
    for members in clusters:
        first: dict[tuple[str, int], int] = {}
        for row in members:
            label = case.labels[row]
            if label is not None and row not in taken:
                kept = first.setdefault((label, int(case.place[row])), row)
                if kept != row:
                    yield kept, row
