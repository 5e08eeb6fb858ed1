import codecs
import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.csv_file import read_csv_table
from stages.lib.errors import InputError

WANTED = [("ingest.image", "file"), ("ingest.label", "label")]


def table(tmp_path: Path, data: bytes) -> list[tuple[int, tuple[str | None, ...]]]:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    return list(read_csv_table(path, WANTED).rows(["file", "label"]))


def refused(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        table(tmp_path, data)
    return str(caught.value)


def test_L4_L5_cells_are_kept_exactly_as_text(tmp_path: Path) -> None:
    texts = ["NA", "null", "None", "nan", "001", "1", "1.0", "True", "1e5", " cat ", "inf", "-0"]
    data = "file,label\n" + "".join(f"{n}.png,{text}\n" for n, text in enumerate(texts))
    assert [cells[1] for _, cells in table(tmp_path, data.encode())] == texts


def test_an_empty_or_blank_cell_is_null(tmp_path: Path) -> None:
    found = table(tmp_path, b'file,label\na.png,\nb.png,"  "\nc.png,\xe2\x80\x83\n')
    assert [cells for _, cells in found] == [("a.png", None), ("b.png", None), ("c.png", None)]


def test_N4_rows_with_more_or_fewer_cells_are_listed_with_their_numbers(tmp_path: Path) -> None:
    said = refused(tmp_path, b"file,label\na.png,cat\nb.png,x,cat\nc.png\nd.png,dog\n")
    assert "2 fault(s)" in said
    assert "row 3: field_count: 3 cells, the header has 2" in said
    assert "row 4: field_count: 1 cells" in said


def test_N4_at_most_twenty_faults_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    said = refused(tmp_path, b"file,label\n" + b"a,b,c\n" * 1500)
    assert "1500 fault(s)" in said
    assert "and 1480 more" in said
    assert "row 2: " in said
    assert "row 21: " in said
    assert "row 22: " not in said


def test_N5_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    assert table(tmp_path, codecs.BOM_UTF8 + b"file,label\na,b\n") == [(2, ("a", "b"))]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("file,label\né,cat\n".encode("latin-1"), r"byte 11 \(row 2\) is not UTF-8.*Latin-1.*'é'"),
        ("file,label\na,b\n".encode("utf-16"), "byte 0: this is UTF-16"),
        ("file,label\na,b\n".encode("utf-32"), "byte 0: this is UTF-32"),
        ("file,label\na,b\n".encode("utf-16-le"), r"byte 1 is NUL \(as in UTF-16"),
        (b"file,label\na\0,b\n", r"byte 12 is NUL \(no text"),
        (b"file,label\na,\xe2\x82", "ends inside a character"),
    ],
)
def test_N6_other_encodings_and_nul_are_refused_with_their_byte(
    tmp_path: Path, data: bytes, said: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said):
        read_csv_table(path, WANTED)


def test_N6_the_offset_is_right_beyond_the_first_block_and_across_its_edge(tmp_path: Path) -> None:
    for filler in (2**20 - 1, 2**20, 2**20 + 7):
        data = b"file,label\n" + b"x" * (filler - 11) + b"\xc3"
        data += b"(\n"
        assert f"byte {filler} (row 2) is not UTF-8" in refused(tmp_path, data)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_N7_another_delimiter_is_told_not_guessed(tmp_path: Path, mark: str) -> None:
    said = refused(tmp_path, f"file{mark}label\na{mark}b\n".encode())
    assert f"separated by {mark!r}: save it with commas" in said


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_N7_every_line_end_is_read_with_right_rows(tmp_path: Path, end: str) -> None:
    data = end.join(["file,label", "a,cat", "", 'b,"two', 'lines"', "c,dog", ""])
    assert table(tmp_path, data.encode()) == [
        (2, ("a", "cat")),
        (4, ("b", f"two{end}lines")),
        (6, ("c", "dog")),
    ]


def test_N7_an_unclosed_quote_names_the_row_it_opens_in(tmp_path: Path) -> None:
    said = refused(tmp_path, b'file,label\na,cat\nb,"dog\nc,cat\nd,cat\n')
    assert "row 3: " in said
    assert "quote" in said


def test_N7_text_after_a_closing_quote_names_its_row(tmp_path: Path) -> None:
    assert "row 3: " in refused(tmp_path, b'file,label\na,cat\nb,"do"g\n')


def test_N7_a_cell_of_ten_megabytes_is_refused(tmp_path: Path) -> None:
    assert "row 2: field larger" in refused(tmp_path, b"file,label\na," + b"x" * 10**7 + b"\n")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"file,label\n", "only a header"),
        (b"file,labels\na,b\n", "ingest.label: no column 'label'; did you mean 'labels'"),
        (b"file,label,label\na,b,c\n", "'label' stands there twice"),
        (b"file,label,\na,b,c\n", "a column has no name"),
        (b"a.png,cat\nb.png,dog\n", "expected the columns 'file', 'label'; found 'a.png', 'cat'"),
    ],
)
def test_N8_header_faults_say_what_was_expected(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refused(tmp_path, data)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(*[st.text(st.characters(exclude_characters="\0", codec="utf-8"))] * 2), min_size=1))
def test_N7_what_a_csv_writer_wrote_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("file", "label"), *rows])
    found = table(tmp_path_factory.mktemp("t"), text.getvalue().encode())
    assert [cells for _, cells in found] == [
        tuple(cell if cell.strip() else None for cell in row) for row in rows
    ]


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60), st.integers(0, 40))
def test_N6_N7_any_bytes_are_read_or_refused_and_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, place: int
) -> None:
    whole = b'file,label\na.png,cat\n"b.png","dog"\nc.png,\n'
    try:
        table(tmp_path_factory.mktemp("t"), whole[:place] + junk + whole[place:])
    except InputError as error:
        assert str(error).startswith("t.csv")  # noqa: PT017  (either outcome is right)
