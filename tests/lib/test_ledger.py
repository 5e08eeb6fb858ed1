from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.errors import InputError
from stages.lib.ledger import WITHHELD, Change, apply_ledger, read_ledger, undo_ledger, write_ledger

# What UTF-8 files and the CSV reader's universal line ends can carry.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=8)
LABELS = st.one_of(st.none(), st.sampled_from(["cat", "NA", "=1+1", "<b>", "'quoted", '"', "a,b", "001"]))


def manifest(labels: list[str | None]) -> pa.Table:
    ids = [f"s{k}" for k in range(len(labels))]
    columns = {"sample_id": ids, "label": labels, "width": [8] * len(ids)}
    types = {"sample_id": pa.string(), "label": pa.string(), "width": pa.int32()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


@st.composite
def histories(draw: st.DrawFn) -> tuple[pa.Table, list[Change]]:
    """A manifest and a consistent run of changes on it, several a sample, withheld ones among them."""
    given_labels = draw(st.lists(LABELS, min_size=1, max_size=6))
    state = {f"s{k}": ("keep", label) for k, label in enumerate(given_labels)}
    changes = []
    for sample_id in draw(st.lists(st.sampled_from(sorted(state)), max_size=8)):
        status, label = state[sample_id]
        action = draw(st.sampled_from(["keep", "drop", "neutral", "relabel", WITHHELD]))
        after = (status, label) if action == WITHHELD else (action, draw(LABELS))
        state[sample_id] = after
        words = (draw(TEXT) for _ in range(5))
        changes.append(Change(sample_id, action, label, after[1], status, after[0], *words))
    return manifest(given_labels), changes


@given(histories())
def test_the_ledger_leads_from_the_manifest_to_the_curated_table_and_back(
    history: tuple[pa.Table, list[Change]],
) -> None:
    table, changes = history
    curated = apply_ledger(table, changes)
    assert curated["given_label"].to_pylist() == table["label"].to_pylist()
    assert undo_ledger(curated, changes).equals(table)


@given(histories())
def test_a_sample_ends_where_its_last_effective_row_left_it(history: tuple[pa.Table, list[Change]]) -> None:
    table, changes = history
    last = {change.sample_id: change for change in changes if change.action != WITHHELD}
    for row in apply_ledger(table, changes).to_pylist():
        change = last.get(row["sample_id"])
        expected = (
            (change.to_status, change.to_label, change.rule) if change else ("keep", row["given_label"], "")
        )
        assert (row["status"], row["label"], row["reason"]) == expected


@given(histories())
def test_the_file_gives_back_every_row(
    tmp_path_factory: pytest.TempPathFactory, history: tuple[pa.Table, list[Change]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.csv"
    write_ledger(path, history[1])
    assert read_ledger(path) == history[1]


def test_a_ledger_of_another_table_is_refused(tmp_path: Path) -> None:
    change = Change("s0", "drop", "dog", "dog", "keep", "drop", "human", "", "", "", "")
    with pytest.raises(InputError, match="'s0' should be keep 'dog', found"):
        apply_ledger(manifest(["cat"]), [change])
    with pytest.raises(InputError, match="does not belong"):
        undo_ledger(apply_ledger(manifest(["dog"]), []), [change])
