"""Decisions of people about single samples: data/review/decisions.csv, read strictly, all faults at once.

Decisions are ordered by their rows: the row is the sequence number. `when` is kept as it was written and
never compared, because clocks of several people differ in zone, run ahead, or are left out.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.lib.review_file import read_rows, refuse

COLUMNS = ("sample_id", "decision", "label", "who", "when", "note")
DECISIONS = ("keep", "drop", "relabel", "neutral")


@dataclass(frozen=True)
class Decision:
    """One row of decisions.csv; row is its line number, by which decisions are ordered."""

    row: int
    sample_id: str
    decision: str
    label: str | None
    who: str
    when: str
    note: str


def read_decisions(review: Path, given: Mapping[str, str | None], classes: Collection[str]) -> list[Decision]:
    """Return the decisions in row order, none where the file is absent; undecided rows are passed over.

    A row is undecided when both decision and label are empty, as in the review queue when it comes.
    `given` maps each sample_id to its label in the manifest; `classes` are the labels a person may choose.
    InputError lists every faulty row.
    """
    path = review / "decisions.csv"
    rows = [_decision(line, cell) for line, cell in read_rows(path, COLUMNS)]
    decisions = [decision for decision in rows if decision.decision or decision.label]
    faults = [
        f"row {decision.row}: {fault}"
        for decision in decisions
        if (fault := _fault(decision, given, classes))
    ]
    refuse(path, faults)
    return decisions


def _decision(line: int, cell: Mapping[str, str]) -> Decision:
    return Decision(
        row=line,
        sample_id=cell["sample_id"],
        decision=cell["decision"].strip().casefold(),
        label=cell["label"] or None,
        who=cell["who"],
        when=cell["when"],
        note=cell["note"],
    )


def _fault(decision: Decision, given: Mapping[str, str | None], classes: Collection[str]) -> str:
    if decision.sample_id not in given:
        return f"unknown sample_id {decision.sample_id!r}"
    if decision.decision not in DECISIONS:
        return f"unknown decision {decision.decision!r}; known: {', '.join(DECISIONS)}"
    label, was = decision.label, given[decision.sample_id]
    if decision.decision == "relabel":
        return _label_fault(label, classes)
    if label is not None and label != was:
        return f"{decision.decision!r} with label {label!r}, but it is {was!r}: leave it empty, or relabel"
    if decision.decision == "keep" and was is not None and was not in classes:
        return f"'keep', but its label {was!r} is one of ingest.neutral_labels: say relabel or neutral"
    return ""


def _label_fault(label: str | None, classes: Collection[str]) -> str:
    if label is None:
        return "'relabel' without a label"
    if label not in classes:
        shown = ", ".join(repr(name) for name in sorted(classes)[:20])
        return f"unknown label {label!r}; known: {shown}{' …' if len(classes) > 20 else ''}"
    return ""
