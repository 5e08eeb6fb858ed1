"""Does reading a table's memory grow with its rows beyond the manifest that it becomes?

Writes Parquet tables of N distinct 8-pixel PNGs (ids, labels, groups) into a temporary folder, ingests each
in a fresh process, and prints N, wall and CPU seconds, the largest resident set of that process and of a
worker, and bytes a row by which it grew. Run: python -m bench.table_growth 20000 100000 [1000000]
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages import ingest
from stages.lib.config import load_section
from stages.lib.image_store import encode_png

ROOT = Path(__file__).parents[1]
ROWS_AT_ONCE = 5000


def write_rows(path: Path, n: int) -> None:
    """Write n rows, a row group at a time; the picture of a row holds its number."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    text = [(name, pa.string()) for name in ("id", "label", "group")]
    with pq.ParquetWriter(path, pa.schema([*text, ("image", kind)])) as writer:
        for start in range(0, n, ROWS_AT_ONCE):
            rows = [_row(number) for number in range(start, min(n, start + ROWS_AT_ONCE))]
            writer.write_table(pa.Table.from_pylist(rows, schema=writer.schema))


def _row(number: int) -> dict[str, object]:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[0, :4] = np.frombuffer(number.to_bytes(4, "big"), np.uint8)
    image = {"bytes": encode_png(pixels), "path": None}
    return {"id": f"row{number:09}", "label": f"c{number % 100}", "group": f"g{number // 7}", "image": image}


def ingest_here(folder: Path) -> dict[str, float]:
    """Ingest the table of `folder` in this process; return what it cost."""
    os.chdir(folder)
    Path("out").mkdir()
    changes = {"source": "table", "path": "data/raw/t.parquet", "image": "image", "image_size": 8}
    columns = {"id": "id", "label": "label", "group": "group"}
    params = load_section(ingest.Params, "ingest", ROOT / "params.yaml").model_copy(update=changes | columns)
    started = time.monotonic()
    metrics = ingest.run(params, raw=Path("data/raw"), out=Path("out"))
    own, workers = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime
    return {
        "n": metrics["n_accepted"],
        "wall_s": round(time.monotonic() - started, 1),
        "cpu_s": round(cpu, 1),
        "rss_mib": own.ru_maxrss // 1024,
        "worker_rss_mib": workers.ru_maxrss // 1024,
        "manifest_mib": (Path("out/manifest.parquet").stat().st_size >> 20),
    }


def measure(n: int) -> dict[str, float]:
    """Ingest n rows in a fresh process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data/raw").mkdir(parents=True)
        write_rows(folder / "data/raw/t.parquet", n)
        command = [sys.executable, "-m", "bench.table_growth", "--here", name]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        found: dict[str, float] = json.loads(done.stdout)
        return found


def main(arguments: list[str]) -> None:
    """Print one line of JSON a size, and the growth from the one before."""
    if arguments[0] == "--here":
        print(json.dumps(ingest_here(Path(arguments[1]))))
        return
    before: dict[str, float] | None = None
    for n in map(int, arguments):
        found = measure(n)
        grown = 2**20 * (found["rss_mib"] - before["rss_mib"]) / (n - before["n"]) if before else None
        print(json.dumps(found | {"bytes_a_row": grown and round(grown)}), flush=True)
        before = found


if __name__ == "__main__":
    main(sys.argv[1:])
