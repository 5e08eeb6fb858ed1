"""From proposals of rules and decisions of people to rows of the ledger: who may change what, and where.

Rules never touch what would be test: errors that a model removes from its own exam make the exam easier. Such
a proposal becomes a row `withheld`. Two rules take a label from nobody and may act there: `neutral_labels`,
because "not sure" is no class, and `neutral` on a sample without a label.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from stages.lib.assignment import PLACES, TEST, TRAIN
from stages.lib.curation_rules import Proposal
from stages.lib.decisions import Decision
from stages.lib.ledger import WITHHELD, Change, State

THINNING = ("exact_copies", "near_copies")
"""Rules that act inside train alone: val and test keep their bursts, as the model will meet them."""


def rule_changes(
    ids: Sequence[str], labels: Sequence[str | None], place: np.ndarray, proposals: Mapping[int, Proposal]
) -> list[Change]:
    """Return one ledger row a proposal, in manifest order; what a rule may not do there is `withheld`."""
    return [_rule_change(ids[row], labels[row], int(place[row]), proposals[row]) for row in sorted(proposals)]


def _rule_change(sample_id: str, label: str | None, place: int, wish: Proposal) -> Change:
    target, action, note = _target(wish.action, label, wish.label), wish.action, ""
    if not _rule_may(wish, label, place):
        note = f"would {wish.action}, but it lies in {PLACES[place]}: only a person may"
        action, target = WITHHELD, State("keep", label)
    return Change(
        sample_id=sample_id,
        action=action,
        from_label=label,
        to_label=target.label,
        from_status="keep",
        to_status=target.status,
        rule=wish.rule,
        evidence=wish.evidence,
        who="policy",
        when="",
        note=note,
    )


def _rule_may(wish: Proposal, label: str | None, place: int) -> bool:
    if wish.rule in THINNING:
        return place == TRAIN
    takes_none = label is None and wish.action == "neutral"
    return place != TEST or wish.rule == "neutral_labels" or takes_none


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
