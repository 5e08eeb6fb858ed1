from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages.curate import Params, SplitView, curate_table, run
from stages.lib.artifacts import read_table, write_csv, write_table
from stages.lib.assignment import PLACES, place_samples
from stages.lib.curation_findings import Findings, Votes
from stages.lib.duplicate_findings import FoundPair
from stages.lib.errors import InputError
from stages.lib.ledger import COLUMNS, WITHHELD, Change, read_ledger, undo_ledger

SPLIT = SplitView(salt=0, test_fraction=0.3, val_fraction=0.2)
DEFAULT: dict[str, Any] = {
    "labels_from_votes": "consensus",
    "annotators_disagree": "report",
    "annotators_min_agreement": 0.6,
    "consensus_differs": "report",
    "consensus_min_quality": 0.95,
    "conflicts": "report",
    "conflicts_min_score": 0.9,
    "label_errors": "report",
    "label_errors_max_quality": 0.2,
    "exact_copies": "drop",
    "near_copies": "report",
    "near_copies_max_distance": 0.1,
}


def params(**changes: Any) -> Params:
    return Params(**(DEFAULT | changes))


def ids_in(place: str, n: int) -> list[str]:
    """Return n sample_ids whose own hash puts them there."""
    names = [f"s{k:03d}" for k in range(200)]
    none: list[str | None] = [None] * 200
    places = place_samples(names, none, none, SPLIT.salt, (0.3, 0.2)).place
    return [name for name, code in zip(names, places, strict=True) if PLACES[code] == place][:n]


def manifest(ids: Sequence[str], labels: Sequence[str | None]) -> pa.Table:
    nothing = pa.array([None] * len(ids), pa.string())
    return pa.table(
        {
            "sample_id": pa.array(ids, pa.string()),
            "label": pa.array(labels, pa.string()),
            "group": nothing,
            "split_hint": nothing,
        }
    )


def findings(
    n: int, pairs: Sequence[FoundPair] = (), conflicts: Sequence[FoundPair] = (), **scores: Any
) -> Findings:
    return Findings(
        pairs=list(pairs),
        conflicts=list(conflicts),
        near=scores.get("near", [None] * n),
        distance=np.array(scores.get("distance", [np.nan] * n), float),
        suggested=scores.get("suggested", [None] * n),
        quality=np.array(scores.get("quality", [np.nan] * n), float),
        suspect=np.array(scores.get("suspect", [False] * n), bool),
        votes=scores.get("votes", voted([None] * n)),
        neutral=frozenset(scores.get("neutral", ())),
        made_of_votes=scores.get("made_of_votes", False),
    )


def voted(
    label: Sequence[str | None], quality: float | list[float] = 0.99, agreement: float | list[float] = 1.0
) -> Votes:
    """Return the consensus of three votes a sample, none where the label is None."""
    present = np.array([name is not None for name in label])
    shares = [np.where(present, value, np.nan) for value in (quality, agreement)]
    return Votes(list(label), *shares, 3 * present.astype(np.int64))


def curated(
    table: pa.Table, found: Findings, policy: Params, review: Path
) -> tuple[dict[str, tuple[str, str | None]], list[Change]]:
    samples, ledger = curate_table(table, found, policy, SPLIT, review)
    assert undo_ledger(samples, ledger).equals(table)
    rows = samples.select(["sample_id", "status", "label"]).to_pylist()
    return {row["sample_id"]: (row["status"], row["label"]) for row in rows}, ledger


def exact(*members: int) -> list[FoundPair]:
    return [FoundPair(members[0], other, 1.0, "exact") for other in members[1:]]


def decide(folder: Path, *rows: Sequence[str]) -> None:
    header = ["sample_id", "decision", "label", "who", "when", "note"]
    write_csv(folder / "decisions.csv", header, rows)


def test_by_default_only_later_exact_copies_with_the_same_label_inside_train_go(tmp_path: Path) -> None:
    ids = ids_in("train", 5)
    table = manifest(ids, ["cat", "cat", "dog", None, "cat"])
    found, ledger = curated(table, findings(5, exact(0, 1, 2, 3)), params(), tmp_path)
    assert [found[name] for name in ids] == [
        ("keep", "cat"),
        ("drop", "cat"),
        ("keep", "dog"),
        ("keep", None),
        ("keep", "cat"),
    ]
    [change] = ledger
    assert (change.rule, change.evidence, change.who) == ("exact_copies", f"exact copy of {ids[0]}", "policy")


@pytest.mark.parametrize("place", ["test", "val"])
def test_copies_outside_train_stay_and_the_ledger_says_what_was_withheld(place: str, tmp_path: Path) -> None:
    ids = ids_in(place, 2)
    found, ledger = curated(manifest(ids, ["cat", "cat"]), findings(2, exact(0, 1)), params(), tmp_path)
    assert {status for status, _ in found.values()} == {"keep"}
    assert [(c.action, c.rule, c.sample_id) for c in ledger] == [(WITHHELD, "exact_copies", ids[1])]
    assert ledger[0].note == f"would drop, but it lies in {place}: only a person may"


@pytest.mark.parametrize(
    ("action", "expected"),
    [("relabel", ("relabel", "dog")), ("drop", ("drop", "cat")), ("neutral", ("neutral", None))],
)
def test_doubted_labels_are_acted_on_up_to_the_threshold_and_never_in_test(
    action: str, expected: tuple[str, str | None], tmp_path: Path
) -> None:
    ids = [*ids_in("train", 3), *ids_in("test", 1)]
    doubt = findings(4, quality=[0.2, 0.21, 0.1, 0.0], suspect=[1, 1, 0, 1], suggested=["dog"] * 4)
    found, ledger = curated(manifest(ids, ["cat"] * 4), doubt, params(label_errors=action), tmp_path)
    assert [found[name] for name in ids] == [expected, ("keep", "cat"), ("keep", "cat"), ("keep", "cat")]
    assert [change.action for change in ledger] in ([action, WITHHELD], [WITHHELD, action])


def test_a_doubted_label_with_no_other_suggestion_is_not_relabelled(tmp_path: Path) -> None:
    doubt = findings(1, quality=[0.0], suspect=[True], suggested=["cat"])
    assert curated(manifest(["s0"], ["cat"]), doubt, params(label_errors="relabel"), tmp_path)[1] == []


def test_l10_all_exact_copies_with_contradicting_labels_become_neutral(tmp_path: Path) -> None:
    """Pairs lead to one stand-in only; the third copy contradicts as much as the first."""
    ids = ids_in("train", 4)
    table = manifest(ids, ["cat", "cat", "dog", "dog"])
    found, _ = curated(table, findings(4, exact(0, 1, 2)), params(conflicts="neutral"), tmp_path)
    assert [found[name] for name in ids] == [("neutral", None)] * 3 + [("keep", "dog")]


def test_near_conflicts_count_from_their_score(tmp_path: Path) -> None:
    ids = ids_in("train", 4)
    conflicts = [FoundPair(0, 1, 0.95, "near"), FoundPair(2, 3, 0.85, "near")]
    table = manifest(ids, ["cat", "dog", "cat", "dog"])
    found, _ = curated(table, findings(4, conflicts=conflicts), params(conflicts="drop"), tmp_path)
    assert [found[name][0] for name in ids] == ["drop", "drop", "keep", "keep"]


def test_near_copies_go_up_to_their_distance_and_the_first_stays(tmp_path: Path) -> None:
    ids = ids_in("train", 3)
    near = findings(3, near=["g", "g", "g"], distance=[0.05, 0.05, 0.2])
    found, _ = curated(manifest(ids, ["cat"] * 3), near, params(near_copies="drop"), tmp_path)
    # All three are one unit, so one draw places them; the leader of these ids lies in train.
    assert [found[name][0] for name in ids] == ["keep", "drop", "keep"]


def test_labels_that_say_not_sure_are_neutral_everywhere_test_included(tmp_path: Path) -> None:
    ids = [*ids_in("train", 1), *ids_in("test", 1)]
    table = manifest(ids, ["Not sure", "Not sure"])
    found, ledger = curated(table, findings(2, neutral={"Not sure"}), params(), tmp_path)
    assert set(found.values()) == {("neutral", None)}
    assert {change.rule for change in ledger} == {"neutral_labels"}


def test_labels_made_of_votes_become_the_consensus_and_ties_get_one(tmp_path: Path) -> None:
    ids = ids_in("train", 3)
    found = findings(3, votes=voted(["cat", "dog", "dog"]), made_of_votes=True)
    table = manifest(ids, ["cat", "cat", None])
    states, ledger = curated(table, found, params(), tmp_path)
    assert [states[name] for name in ids] == [("keep", "cat"), ("relabel", "dog"), ("relabel", "dog")]
    assert {change.rule for change in ledger} == {"labels_from_votes"}
    assert ledger[0].evidence == "consensus 'dog' of probability 0.99; 1.0 of 3 votes"
    assert curated(table, found, params(labels_from_votes="plurality"), tmp_path)[1] == []


def test_in_test_a_label_made_of_votes_stays_the_peoples_plurality(tmp_path: Path) -> None:
    ids = ids_in("test", 2)
    found = findings(2, votes=voted(["dog", "dog"]), made_of_votes=True)
    states, ledger = curated(manifest(ids, ["cat", None]), found, params(), tmp_path)
    assert list(states.values()) == [("keep", "cat"), ("keep", None)]
    assert [change.action for change in ledger] == [WITHHELD] * 2


def test_a_tie_beside_a_label_column_gets_the_consensus_and_labels_given_stay(tmp_path: Path) -> None:
    ids = ids_in("train", 2)
    states, _ = curated(
        manifest(ids, ["cat", None]), findings(2, votes=voted(["dog"] * 2)), params(), tmp_path
    )
    assert [states[name] for name in ids] == [("keep", "cat"), ("relabel", "dog")]


@pytest.mark.parametrize(
    ("action", "expected"),
    [("relabel", ("relabel", "dog")), ("drop", ("drop", "cat")), ("neutral", ("neutral", None))],
)
def test_a_given_label_that_a_sure_consensus_contradicts_is_acted_on_and_never_in_test(
    action: str, expected: tuple[str, str | None], tmp_path: Path
) -> None:
    ids = [*ids_in("train", 3), *ids_in("test", 1)]
    votes = voted(["dog", "dog", "cat", "dog"], quality=[0.95, 0.94, 0.99, 0.99])
    policy = params(consensus_differs=action)
    found, ledger = curated(manifest(ids, ["cat"] * 4), findings(4, votes=votes), policy, tmp_path)
    assert [found[name] for name in ids] == [expected] + [("keep", "cat")] * 3
    assert sorted(change.action for change in ledger) == sorted([action, WITHHELD])


@pytest.mark.parametrize(("bound", "n"), [(0.0, 0), (0.6, 1), (2 / 3, 1), (0.7, 2), (1.0, 2)])
def test_annotators_who_disagree_beyond_the_bound_make_a_sample_neutral(
    bound: float, n: int, tmp_path: Path
) -> None:
    """One of three is less than 0.6; two of three, as Parquet's float32 has them, are not less than 2/3."""
    ids = ids_in("train", 4)
    agreement = [float(np.float32(share)) for share in (1 / 3, 2 / 3, 1.0, 0.2)]
    votes = voted(["cat", "cat", "cat", None], agreement=agreement)
    policy = params(annotators_disagree="neutral", annotators_min_agreement=bound)
    found, _ = curated(manifest(ids, ["cat"] * 4), findings(4, votes=votes), policy, tmp_path)
    assert [found[name][0] for name in ids] == ["neutral"] * n + ["keep"] * (4 - n)


def test_one_vote_cannot_disagree(tmp_path: Path) -> None:
    alone = Votes(["dog"], np.array([0.9]), np.array([0.0]), np.array([1]))
    policy = params(annotators_disagree="neutral")
    table = manifest(ids_in("train", 1), ["dog"])
    assert curated(table, findings(1, votes=alone), policy, tmp_path)[1] == []


def test_disagreement_decides_before_the_consensus_and_a_tie_in_test_goes_to_people(tmp_path: Path) -> None:
    ids = [*ids_in("train", 1), *ids_in("test", 2)]
    votes = voted(["dog"] * 3, agreement=0.33)
    policy = params(annotators_disagree="neutral")
    found, _ = curated(
        manifest(ids, ["cat", "cat", None]), findings(3, votes=votes, made_of_votes=True), policy, tmp_path
    )
    assert [found[name] for name in ids] == [("neutral", None), ("keep", "cat"), ("neutral", None)]


def test_a_person_overrides_every_rule_in_test_too_and_the_last_row_counts(tmp_path: Path) -> None:
    train, test = ids_in("train", 2), ids_in("test", 2)
    ids = [*train, *test]
    decide(
        tmp_path,
        (test[0], "relabel", "dog", "Ada", "2026-11-21", "as it was"),
        (train[1], "drop", "", "Ada", "", ""),
        (train[1], "keep", "", "Ben", "", "a burst, but wanted"),
        (test[1], "relabel", "dog", "Ada", "", "clearly"),
    )
    table = manifest(ids, ["cat", "cat", "dog", "cat"])
    found, ledger = curated(table, findings(4, exact(0, 1)), params(), tmp_path)
    assert [found[name] for name in ids] == [("keep", "cat")] * 2 + [("keep", "dog"), ("relabel", "dog")]
    human = [change for change in ledger if change.rule == "human"]
    assert [(c.from_status, c.to_status, c.who) for c in human if c.sample_id == train[1]] == [
        ("drop", "drop", "Ada"),
        ("drop", "keep", "Ben"),
    ]


def test_a_person_relabels_a_test_sample_and_an_unlabelled_one(tmp_path: Path) -> None:
    ids = ids_in("test", 3)
    decide(tmp_path, (ids[0], "relabel", "dog", "Ada", "", ""), (ids[1], "relabel", "dog", "Ada", "", ""))
    found, _ = curated(manifest(ids, ["cat", None, "dog"]), findings(3), params(), tmp_path)
    assert found[ids[0]] == found[ids[1]] == ("relabel", "dog")


def write_inputs(root: Path, table: pa.Table, pairs: Sequence[FoundPair]) -> dict[str, Path]:
    ids, labels = table["sample_id"].to_pylist(), table["label"].to_pylist()
    folders = {name: root / name for name in ("ingest", "duplicates", "label_noise", "review")}
    write_table(folders["ingest"] / "manifest.parquet", table)
    members = sorted({k for pair in pairs for k in (pair.left, pair.right)})
    group = {
        "sample_id": [ids[k] for k in members],
        "group_id": ["g"] * len(members),
        "distance": [0.0] * len(members),
    }
    schema = pa.schema([("sample_id", pa.string()), ("group_id", pa.string()), ("distance", pa.float32())])
    write_table(folders["duplicates"] / "groups.parquet", pa.table(group, schema))
    header = ["sample_id_a", "sample_id_b", "score", "kind", "label_a", "label_b"]
    rows = [(ids[p.left], ids[p.right], p.score, p.kind, labels[p.left], labels[p.right]) for p in pairs]
    write_csv(folders["duplicates"] / "pairs.csv", header, rows)
    write_csv(folders["duplicates"] / "conflicts.csv", header, [])
    scored = {"sample_id": ids, "given_label": labels, "suggested_label": labels}
    quality = {"label_quality": [1.0] * len(ids), "is_label_issue": [False] * len(ids)}
    write_table(folders["label_noise"] / "scores.parquet", pa.table(scored | quality))
    said = {"sample_id": ids[:2], "consensus_label": labels[:2], "n_votes": [3, 2][: len(ids)]}
    shares = {"consensus_quality": [0.9, 0.75][: len(ids)], "agreement": [1.0, 0.5][: len(ids)]}
    write_table(folders["label_noise"] / "consensus.parquet", pa.table(said | shares))
    return folders


def test_the_files_lead_back_to_the_manifest_and_are_the_same_on_every_run(tmp_path: Path) -> None:
    ids = ids_in("train", 6)
    table = manifest(ids, ["=cat", "=cat", "<b>", "NA", "001", "1"])
    folders = write_inputs(tmp_path, table, exact(0, 1))
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        metrics = run(params(), **folders, split=SPLIT, out=out)  # type: ignore[arg-type]
    assert metrics["status"] == {"keep": 5, "drop": 1, "relabel": 0, "neutral": 0}
    for name in ("samples.parquet", "ledger.csv"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()
    samples, ledger = read_table(outs[0] / "samples.parquet"), read_ledger(outs[0] / "ledger.csv")
    assert samples["consensus_quality"].to_pylist() == pytest.approx([0.9, 0.75, None, None, None, None])
    assert samples["agreement"].to_pylist() == [1.0, 0.5, None, None, None, None]
    assert undo_ledger(samples, ledger).equals(table)
    assert tuple(COLUMNS) == tuple((outs[0] / "ledger.csv").read_text().splitlines()[0].split(","))


def test_an_unknown_sample_in_the_decisions_stops_the_stage(tmp_path: Path) -> None:
    folders = write_inputs(tmp_path, manifest(["a"], ["cat"]), [])
    decide(folders["review"], ("nobody", "drop", "", "", "", ""))
    with pytest.raises(InputError, match="row 2: unknown sample_id 'nobody'"):
        run(params(), **folders, split=SPLIT, out=tmp_path / "out")  # type: ignore[arg-type]
