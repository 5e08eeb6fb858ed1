from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.lib import parquet_file
from stages.lib.errors import InputError
from stages.lib.parquet_file import holds_bytes, read_parquet_table, stream_images
from tests.table_fixture import picture, write_parquet_table

WANTED = [("ingest.label", "label"), ("ingest.id", "id")]


def read_whole(path: Path) -> int:
    """Read text and images of a table; give its number of rows."""
    assert holds_bytes(path, "image")
    table = read_parquet_table(path, WANTED, "image")
    rows = list(table.rows(["label", "id"]))
    assert len(list(stream_images(path, "image", len(rows)))) == len(rows)
    return len(rows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    columns = {"label": ["x", "y"] * 20, "id": list(range(40))}
    return write_parquet_table(tmp_path / "t.parquet", columns, 40, row_group_size=13)


def test_images_come_as_they_were_written_whatever_the_row_groups(path: Path) -> None:
    assert list(stream_images(path, "image", 40)) == [picture(number) for number in range(40)]


@pytest.mark.parametrize("at_once", [0, 2**22])
def test_N3_cells_without_an_image_are_none_in_small_steps_as_in_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(parquet_file, "BYTES_AT_ONCE", at_once)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": b"one", "path": None}, None, {"bytes": None, "path": "two.png"}] * 50
    pq.write_table(pa.table({"image": pa.array(cells, kind)}), tmp_path / "t.parquet", row_group_size=40)
    assert list(stream_images(tmp_path / "t.parquet", "image", 150)) == [b"one", None, None] * 50


@pytest.mark.parametrize("n_rows", [39, 41])
def test_images_that_are_fewer_or_more_than_rows_are_a_damaged_file(path: Path, n_rows: int) -> None:
    with pytest.raises(InputError, match=f"does not have {n_rows} rows"):
        list(stream_images(path, "image", n_rows))


@pytest.mark.parametrize("seed", range(150))
def test_N6_changed_bytes_are_refused_or_read_and_never_a_traceback(path: Path, seed: int) -> None:
    whole = bytearray(path.read_bytes())
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    rng = np.random.default_rng(seed)
    for place in rng.integers(footer if seed % 2 else 4, len(whole) - 8, rng.integers(1, 6)):
        whole[place] = rng.integers(0, 256)
    path.write_bytes(whole)
    try:
        assert read_whole(path) > 0
    except InputError as error:
        assert "t.parquet" in str(error)  # noqa: PT017  (either outcome is right)
