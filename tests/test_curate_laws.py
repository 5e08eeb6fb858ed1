"""What holds of curation whatever the data, the findings, the policy and the decisions are."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.curate import Params, SplitView, curate_table
from stages.lib.artifacts import read_table, write_table
from stages.lib.assignment import PLACES, TEST, place_samples
from stages.lib.curation_findings import Findings, Votes
from stages.lib.decisions import COLUMNS, DECISIONS
from stages.lib.duplicate_findings import FoundPair
from stages.lib.label_roles import with_neutral_labels
from stages.lib.ledger import WITHHELD, Change, apply_ledger, read_ledger, undo_ledger, write_ledger

SPLIT = SplitView(salt=0, test_fraction=0.35, val_fraction=0.15)
NEUTRAL = "Not sure"
CLASSES = ["cat", "=1+1", "<b>"]
LABELS = st.sampled_from([*CLASSES, NEUTRAL, None])
SHARES = st.floats(0, 1, width=32)
NOTES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=5)


@dataclass(frozen=True)
class Situation:
    """One case: everything that curation reads."""

    manifest: pa.Table
    findings: Findings
    policy: Params
    decisions: list[tuple[str, ...]]


@st.composite
def manifests(draw: st.DrawFn) -> pa.Table:
    n = draw(st.integers(1, 7))
    columns = {
        "sample_id": [f"s{k}" for k in range(n)],
        "label": draw(st.lists(LABELS, min_size=n, max_size=n)),
        "group": draw(st.lists(st.sampled_from([None, None, "g"]), min_size=n, max_size=n)),
        "split_hint": draw(st.lists(st.sampled_from([None, None, "train", "test"]), min_size=n, max_size=n)),
        "annotator_a": draw(st.lists(LABELS, min_size=n, max_size=n)),
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return with_neutral_labels(table, [NEUTRAL])


@st.composite
def pair_lists(draw: st.DrawFn, n: int) -> list[FoundPair]:
    ends = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda pair: pair[0] < pair[1])
    found = draw(st.lists(ends, max_size=5)) if n > 1 else []
    return [FoundPair(a, b, draw(SHARES), draw(st.sampled_from(["exact", "near"]))) for a, b in found]


@st.composite
def findings_of(draw: st.DrawFn, table: pa.Table) -> Findings:
    n = len(table)

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=n, max_size=n))

    pairs = draw(pair_lists(n))
    labels = table["label"].to_pylist()
    consensus = column(st.sampled_from([*CLASSES, None]))
    voted = np.array([name is not None for name in consensus])
    quality, agreement = (np.where(voted, column(SHARES), np.nan) for _ in range(2))
    return Findings(
        pairs=pairs,
        conflicts=[pair for pair in pairs if labels[pair.left] != labels[pair.right]],
        near=column(st.sampled_from([None, "n"])),
        distance=np.array(column(SHARES)),
        suggested=column(st.sampled_from([*CLASSES, None])),
        quality=np.array(column(SHARES)),
        suspect=np.array(column(st.booleans())),
        votes=Votes(consensus, quality, agreement, np.where(voted, column(st.integers(1, 5)), 0)),
        neutral=frozenset([NEUTRAL]),
        made_of_votes=draw(st.booleans()),
    )


@st.composite
def policies(draw: st.DrawFn) -> Params:
    thin = st.sampled_from(["report", "neutral", "drop"])
    doubt = st.sampled_from(["report", "neutral", "drop", "relabel"])
    return Params(
        labels_from_votes=draw(st.sampled_from(["consensus", "plurality"])),
        annotators_disagree=draw(thin),
        annotators_min_agreement=draw(SHARES),
        consensus_differs=draw(doubt),
        consensus_min_quality=draw(SHARES),
        conflicts=draw(thin),
        conflicts_min_score=draw(SHARES),
        label_errors=draw(doubt),
        label_errors_max_quality=draw(SHARES),
        exact_copies=draw(thin),
        near_copies=draw(thin),
        near_copies_max_distance=draw(SHARES),
    )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    table = draw(manifests())
    found = draw(findings_of(table))
    given_label = dict(zip(table["sample_id"].to_pylist(), table["label"].to_pylist(), strict=True))
    known = sorted({*given_label.values(), *found.votes.label} - {None, NEUTRAL})
    rows = []
    for sample_id in draw(st.lists(st.sampled_from(sorted(given_label)), max_size=6)):
        possible = [
            word
            for word in DECISIONS
            if (known or word != "relabel") and (word != "keep" or given_label[sample_id] != NEUTRAL)
        ]
        decision = draw(st.sampled_from(possible))
        label = draw(st.sampled_from(known)) if decision == "relabel" else ""
        rows.append((sample_id, decision, label, draw(NOTES), draw(NOTES), draw(NOTES)))
    return Situation(table, found, draw(policies()), rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("laws")


def curated(case: Situation, folder: Path) -> tuple[pa.Table, list[Change]]:
    with (folder / "decisions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *case.decisions])
    return curate_table(case.manifest, case.findings, case.policy, SPLIT, folder)


def as_files(samples: pa.Table, changes: list[Change], folder: Path) -> tuple[pa.Table, list[Change]]:
    """Write both and read them back, as another stage would."""
    write_table(folder / "samples.parquet", samples)
    write_ledger(folder / "ledger.csv", changes)
    return read_table(folder / "samples.parquet"), read_ledger(folder / "ledger.csv")


def places(case: Situation) -> dict[str, int]:
    ids, groups, hints = (case.manifest[name].to_pylist() for name in ("sample_id", "group", "split_hint"))
    fractions = (SPLIT.test_fraction, SPLIT.val_fraction)
    place = place_samples(ids, groups, hints, SPLIT.salt, fractions).place
    return dict(zip(ids, place.tolist(), strict=True))


@settings(max_examples=40)
@given(situations())
def test_manifest_and_ledger_give_the_curated_table_and_back(folder: Path, case: Situation) -> None:
    samples, ledger = as_files(*curated(case, folder), folder)
    replayed = apply_ledger(case.manifest, ledger)
    assert samples.select(replayed.column_names).equals(replayed, check_metadata=True)
    assert undo_ledger(samples, ledger).equals(case.manifest, check_metadata=True)


@settings(max_examples=40)
@given(situations())
def test_a_label_in_test_changes_by_a_human_decision_alone_and_the_ledger_shows_it(
    folder: Path, case: Situation
) -> None:
    """A sample there that has a class keeps status and label unless a row of a person says otherwise."""
    samples, ledger = curated(case, folder)
    place = places(case)
    decided = {change.sample_id for change in ledger if change.rule == "human"}
    for row in samples.to_pylist():
        given_label = row["given_label"]
        if place[row["sample_id"]] == TEST and row["sample_id"] not in decided:
            if given_label in CLASSES:
                assert (row["status"], row["label"], row["reason"]) == ("keep", given_label, "")
            else:
                assert row["label"] in (None, NEUTRAL)  # no rule may invent a label there
    for change in ledger:
        if place[change.sample_id] == TEST and change.to_label != change.from_label:
            assert change.rule == "human" or (change.to_status, change.to_label) == ("neutral", None)
            assert change.rule == "human" or change.from_label not in CLASSES


@settings(max_examples=40)
@given(situations())
def test_the_last_decision_of_a_person_overrides_every_rule(folder: Path, case: Situation) -> None:
    samples, ledger = curated(case, folder)
    last = {row[0]: row for row in case.decisions}
    assert [c.sample_id for c in ledger if c.rule == "human"] == [row[0] for row in case.decisions]
    for row in samples.to_pylist():
        if row["sample_id"] in last:
            _, decision, label, *_ = last[row["sample_id"]]
            expected = {"relabel": label, "neutral": None}.get(decision, row["given_label"])
            assert row["label"] == expected
            assert row["reason"] == "human"
            same = decision == "relabel" and label == row["given_label"]
            assert row["status"] == ("keep" if same else decision)


@settings(max_examples=40)
@given(situations())
def test_a_withheld_row_changes_nothing_and_says_where_the_sample_lies(folder: Path, case: Situation) -> None:
    _, ledger = curated(case, folder)
    place = places(case)
    for change in ledger:
        if change.action == WITHHELD:
            assert (change.from_label, change.from_status) == (change.to_label, change.to_status)
            assert f"it lies in {PLACES[place[change.sample_id]]}" in change.note


REPORT: dict[str, Any] = dict.fromkeys(
    ["annotators_disagree", "consensus_differs", "conflicts", "label_errors", "near_copies"], "report"
)


@settings(max_examples=40)
@given(situations())
def test_by_default_a_given_class_changes_for_exact_copies_inside_train_alone(
    folder: Path, case: Situation
) -> None:
    policy = Params(**case.policy.model_dump() | REPORT | {"exact_copies": "drop"})
    untouched = Findings(**vars(case.findings) | {"made_of_votes": False})
    samples, _ = curated(Situation(case.manifest, untouched, policy, []), folder)
    place = places(case)
    in_a_pair = {k for pair in case.findings.pairs if pair.kind == "exact" for k in (pair.left, pair.right)}
    for k, row in enumerate(samples.to_pylist()):
        if row["given_label"] in CLASSES and row["status"] != "keep":
            assert (row["status"], row["reason"]) == ("drop", "exact_copies")
            assert k in in_a_pair
            assert PLACES[place[row["sample_id"]]] == "train"
