"""Draw a random sample of test images whose labels people should check: data/review/audit.csv."""

import hashlib
from pathlib import Path

from stages.lib.artifacts import read_csv, read_table, write_csv
from stages.lib.audit import COLUMNS, FILE
from stages.lib.errors import InputError

SHOWN = (*COLUMNS, "source")


def audit(n: int, data: Path = Path("data"), review: Path = Path("data/review")) -> int:
    """Add test images, in an order that depends on nothing but their names, until `n` are listed.

    Rows that are there stay, checked or not. Returns how many were added. The given label is not shown: who
    sees it agrees with it too often.
    """
    splits = data / "split" / "splits.csv"
    if not splits.exists():
        raise InputError(f"{splits} is missing: there is no test set yet, run `make repro`")
    rows = read_csv(review / FILE) if (review / FILE).exists() else []
    listed = {row["sample_id"] for row in rows}
    test = [row["sample_id"] for row in read_csv(splits) if row["split"] == "test"]
    manifest = read_table(data / "ingest" / "manifest.parquet", ["sample_id", "source"])
    source = dict(zip(manifest["sample_id"].to_pylist(), manifest["source"].to_pylist(), strict=True))
    new = sorted((name for name in test if name not in listed), key=_order)[: max(0, n - len(rows))]
    kept = [tuple(row.get(column, "") for column in SHOWN) for row in rows]
    write_csv(review / FILE, SHOWN, [*kept, *((name, "", "", "", "", source[name]) for name in new)])
    return len(new)


def _order(name: str) -> bytes:
    return hashlib.sha256(b"audit:" + name.encode()).digest()
