import pyarrow as pa
import pytest

from stages.lib.errors import InputError
from stages.lib.label_names import check_classes, tell_unused
from stages.lib.label_roles import (
    labels_made_of_votes,
    neutral_labels,
    with_labels_made_of_votes,
    with_neutral_labels,
)


def test_L2_unknown_classes_are_listed_with_the_nearest_name() -> None:
    with pytest.raises(InputError) as caught:
        check_classes("t.csv", {"cat": 5, "Cta": 2, "horse": 1}, ["cat", "dog"])
    said = str(caught.value)
    assert "2 labels are not in ingest.classes" in said
    assert "'Cta' (2 times)" in said
    assert "'horse' (1 times); valid here: cat, dog" in said


def test_L2_at_most_twenty_are_listed() -> None:
    with pytest.raises(InputError, match="and 10 more"):
        check_classes("t.csv", {f"x{n}": 1 for n in range(30)}, ["cat"])


def test_any_class_is_known_where_none_are_named() -> None:
    check_classes("t.csv", {"anything": 1}, [])


def test_a_policy_that_matches_no_label_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tell_unused("ingest.neutral_labels", ["Not Sure", "Other"], {"Not sure": 1, "Other": 2})
    said = capsys.readouterr().err
    assert "no label is 'Not Sure'; did you mean 'Not sure'?" in said
    assert "Other'" not in said


def test_neutral_labels_travel_with_the_manifest() -> None:
    table = pa.table({"label": ["a", "?"]})
    assert neutral_labels(table) == frozenset()
    assert neutral_labels(with_neutral_labels(table, ["?", "ü"])) == {"?", "ü"}
    assert with_neutral_labels(table, ["?"]).equals(table)


def test_the_note_that_labels_are_made_of_votes_travels_beside_the_neutral_labels() -> None:
    table = with_neutral_labels(pa.table({"label": ["a", "?"]}), ["?"])
    assert not labels_made_of_votes(table)
    noted = with_labels_made_of_votes(table)
    assert labels_made_of_votes(noted)
    assert neutral_labels(noted) == {"?"}
