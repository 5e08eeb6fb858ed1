from pathlib import Path

import pytest

from stages.lib.decisions import Decision, read_decisions
from stages.lib.errors import InputError

GIVEN = {"a": "cat", "b": "dog", "=c": None, "d": "Not sure"}
CLASSES = {"cat", "dog"}
HEADER = "sample_id,decision,label,who,when,note\n"


def read(folder: Path, text: str) -> list[Decision]:
    (folder / "decisions.csv").write_bytes(text.encode("utf-8"))
    return read_decisions(folder, GIVEN, CLASSES)


def test_no_file_means_no_decision(tmp_path: Path) -> None:
    assert read_decisions(tmp_path, GIVEN, CLASSES) == []


def test_n13_rows_keep_their_order_whatever_their_clocks_say(tmp_path: Path) -> None:
    rows = "a,drop,,Ada,2999-01-01,\na,keep,,Ben,1970-01-01T00:00+14:00,\na,neutral,,Cy,yesterday,\n"
    assert [d.decision for d in read(tmp_path, HEADER + rows)] == ["drop", "keep", "neutral"]


def test_n13_a_later_row_counts_though_its_clock_is_earlier_or_absent(tmp_path: Path) -> None:
    """Zones, no zone, the future, no time at all: `when` is carried as text and orders nothing."""
    clocks = ["2999-12-31T23:59:59Z", "2026-11-21T09:00:00+14:00", "2026-11-21T09:00:00", "", "21/11/26"]
    rows = [f"a,{'drop' if at % 2 else 'keep'},,Ada,{clock},\n" for at, clock in enumerate(clocks)]
    for order in (rows, rows[::-1]):
        found = read(tmp_path, HEADER + "".join(order))
        assert [decision.row for decision in found] == [2, 3, 4, 5, 6]
        assert [decision.when for decision in found] == (clocks if order is rows else clocks[::-1])


def test_rows_that_nobody_decided_are_passed_over(tmp_path: Path) -> None:
    """The review queue as it comes, one row filled in."""
    found = read(tmp_path, HEADER + "a,,,,,\nb,drop,,Ada,,\na,,,Ada,,still looking\n")
    assert [(decision.sample_id, decision.row) for decision in found] == [("b", 3)]
    with pytest.raises(InputError, match="unknown decision ''"):
        read(tmp_path, HEADER + "a,,dog,,,\n")


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    """A byte order mark, quoted names, Windows line ends, another order, one more column, a formula guard."""
    text = (
        '\ufeffdecision,sample_id,label,who,when,note,score\r\n Relabel ,\'=c,dog,Ada,,"two\r\nlines",1\r\n'
    )
    [decision] = read(tmp_path, text)
    assert (decision.sample_id, decision.decision, decision.label) == ("=c", "relabel", "dog")
    assert (decision.row, decision.note.split()) == (3, ["two", "lines"])


def test_all_faulty_rows_are_listed_at_once(tmp_path: Path) -> None:
    rows = (
        "x,keep,,,,\na,kep,,,,\nb,relabel,,,,\nb,relabel,bird,,,\nb,drop,cat,,,\nd,keep,,,,\na,keep,cat,,,\n"
    )
    with pytest.raises(InputError) as caught:
        read(tmp_path, HEADER + rows)
    assert str(caught.value).splitlines()[1:] == [
        "  row 2: unknown sample_id 'x'",
        "  row 3: unknown decision 'kep'; known: keep, drop, relabel, neutral",
        "  row 4: 'relabel' without a label",
        "  row 5: unknown label 'bird'; known: 'cat', 'dog'",
        "  row 6: 'drop' with label 'cat', but it is 'dog': leave it empty, or relabel",
        "  row 7: 'keep', but its label 'Not sure' is one of ingest.neutral_labels: say relabel or neutral",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample_id,decision\na,drop\n", "column.s. missing: label, who, when, note"),
        ("", "column.s. missing"),
        (HEADER.replace(",", ";") + "a;drop;;Ada;;\n", "separated by semicolons: save it with commas"),
        (HEADER.replace(",", "\t") + "a\tdrop\t\tAda\t\t\n", "separated by tabs: save it with commas"),
        (HEADER.replace("note", "who") + "a,drop,,Ada,,\n", "column.s. missing: note"),
        (HEADER.replace("note", "note,who") + "a,drop,,Ada,,,\n", "named twice: who"),
        (HEADER + "a,drop,,Ada\n", "row 2: 4 cells where the header has 6"),
        (HEADER + "a,drop,,Ada,,yes, but\n", "row 2: 7 cells where the header has 6"),
        (HEADER + 'a,drop,,"Ada\n', "not a CSV file"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_folder_or_a_link_to_nothing_in_its_place_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "decisions.csv"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "gone.csv")
    with pytest.raises(InputError, match="is a folder or a link to nothing"):
        read_decisions(tmp_path, GIVEN, CLASSES)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "decisions.csv").write_bytes(HEADER.encode() + "a,drop,,Zoë,,\n".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        read_decisions(tmp_path, GIVEN, CLASSES)


def test_a_screenful_of_faults_is_listed_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"60 fault(.|\n)*… and 10 more"):
        read(tmp_path, HEADER + "x,keep,,,,\n" * 60)
