"""Does reading a table stay in bounds: time, and memory beyond the manifest that it becomes?

    python -m bench.table_growth 20000 100000 [1000000] [--classes 10000] [--rows-only]

Writes Parquet tables of N distinct 8-pixel PNGs (ids, labels, groups) into a temporary folder, ingests each
in a fresh process, and prints N, wall and CPU seconds (decode workers included), the largest resident set of
that process and of a worker, and bytes a row by which it grew. --rows-only leaves the images out: text
columns are read and judged, every row is entered into the books under one and the same picture, manifest and
quarantine are written; what is left is what rows cost whatever their images are.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.peak_memory import peak_mib
from stages import ingest
from stages.lib.artifacts import write_csv, write_table
from stages.lib.config import load_section
from stages.lib.image_store import encode_png
from stages.lib.intake import QUARANTINE_COLUMNS, Accepted, Intake, Spool
from stages.lib.parquet_file import read_parquet_table
from stages.lib.row_faults import RowFaults
from stages.lib.table_rows import check_rows, facts_of, label_counts, text_columns

ROOT = Path(__file__).parents[1]
ROWS_AT_ONCE = 5000


def write_rows(path: Path, n: int, n_classes: int = 100) -> None:
    """Write n rows, a row group at a time; the picture of a row holds its number."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    text = [(name, pa.string()) for name in ("id", "label", "group")]
    with pq.ParquetWriter(path, pa.schema([*text, ("image", kind)])) as writer:
        for start in range(0, n, ROWS_AT_ONCE):
            rows = [_row(number, n_classes) for number in range(start, min(n, start + ROWS_AT_ONCE))]
            writer.write_table(pa.Table.from_pylist(rows, schema=writer.schema))


def _row(number: int, n_classes: int) -> dict[str, object]:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0, :4] = np.frombuffer(number.to_bytes(4, "big"), np.uint8)
    image = {"bytes": encode_png(pixels), "path": None}
    return {
        "id": f"row{number:09}",
        "label": f"c{number % n_classes}",
        "group": f"g{number // 7}",
        "image": image,
    }


def enter_rows(params: ingest.Params, *, raw: Path, out: Path) -> dict[str, Any]:
    """Do what `ingest` does with a table, images aside."""
    path = raw / "t.parquet"
    table = read_parquet_table(path, text_columns(params), params.image)
    faults = RowFaults(path.name)
    check_rows(table, params, faults)
    faults.stop()
    ingest.policy(params).check(table.name, label_counts(table, params))
    picture = ("0" * 64, 8, 8, "L", (), 1, encode_png(np.zeros((8, 8), np.uint8)))
    books = Intake(neutral=params.neutral_labels)
    with (out / "spool").open("w+b") as file:
        spool = Spool(file)
        for facts in facts_of(table, params):
            books.take(Accepted(facts, *picture), spool)
    write_table(out / "manifest.parquet", books.manifest(), ingest.MANIFEST_ROWS)
    write_csv(out / "quarantine.csv", QUARANTINE_COLUMNS, books.quarantine_rows())
    return books.metrics()


def ingest_here(folder: Path, rows_only: bool) -> dict[str, float]:
    """Ingest the table of `folder` in this process; return what it cost."""
    os.chdir(folder)
    Path("out").mkdir()
    changes = {"source": "table", "path": "data/raw/t.parquet", "image": "image", "image_size": 8}
    columns = {"id": "id", "label": "label", "group": "group"}
    params = load_section(ingest.Params, "ingest", ROOT / "params.yaml").model_copy(update=changes | columns)
    started = time.monotonic()
    work = enter_rows if rows_only else ingest.run
    metrics = work(params, raw=Path("data/raw"), out=Path("out"))
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime
    return {
        "n": metrics["n_accepted"],
        "classes": metrics["n_classes"],
        "wall_s": round(time.monotonic() - started, 1),
        "cpu_s": round(cpu, 1),
        "rss_mib": round(peak_mib()),
        "worker_rss_mib": workers.ru_maxrss // 1024,
        "manifest_mib": (Path("out/manifest.parquet").stat().st_size >> 20),
    }


def measure(n: int, n_classes: int, rows_only: bool) -> dict[str, float]:
    """Ingest n rows in a fresh process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data/raw").mkdir(parents=True)
        write_rows(folder / "data/raw/t.parquet", n, n_classes)
        command = [sys.executable, "-m", "bench.table_growth", "--here", name, *["--rows-only"] * rows_only]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, float] = json.loads(done.stdout)
        return found


def main() -> None:
    """Print one line of JSON a size, and the growth from the one before."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("n", type=int, nargs="*")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--rows-only", action="store_true")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here is not None:
        print(json.dumps(ingest_here(asked.here, asked.rows_only)))
        return
    before: dict[str, float] | None = None
    for n in asked.n:
        found = measure(n, asked.classes, asked.rows_only)
        grown = 2**20 * (found["rss_mib"] - before["rss_mib"]) / (n - before["n"]) if before else None
        print(json.dumps(found | {"bytes_a_row": grown and round(grown)}), flush=True)
        before = found


if __name__ == "__main__":
    main()
