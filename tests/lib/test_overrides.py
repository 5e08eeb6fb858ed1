"""Overrides are rows that people may write: read as written, or refused with every faulty row named."""

from pathlib import Path

import pytest

from stages.lib.errors import InputError
from stages.lib.overrides import FILE, Override, read_overrides, write_overrides


def test_what_is_written_is_read(tmp_path: Path) -> None:
    acts = [Override("slices", "0.4", 'owls, "rare"', "Ada", "2026-11-21"), Override("a", "1", "b", "c", "")]
    write_overrides(tmp_path, acts)
    assert read_overrides(tmp_path) == acts


def test_no_file_is_no_override(tmp_path: Path) -> None:
    assert read_overrides(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("gate,value,reason,by\na,1,b,c\n", "missing: when"),
        ("gate,value,reason,by,when\na,1,,c,\nb,2,x,,\n", "row 2: reason is empty\n  row 3: by is empty"),
        ("gate,value,reason,by,when\n\xff".encode("latin-1"), "not a CSV file in UTF-8"),
    ],
)
def test_faulty_rows_are_named(tmp_path: Path, content: str | bytes, told: str) -> None:
    (tmp_path / FILE).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=told):
        read_overrides(tmp_path)
