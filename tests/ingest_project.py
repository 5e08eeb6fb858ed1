"""A folder in which tests run ingest, and its outs as plain values."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from stages import ingest
from stages.lib.artifacts import read_csv
from stages.lib.config import load_section

ROOT = Path(__file__).parents[1]
SHIPPED = load_section(ingest.Params, "ingest", ROOT / "params.yaml")


class Project:
    """A folder with data/raw, and ingest run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.raw = root / "data" / "raw"
        self.set = self.raw / "set"
        self.out = root / "data" / "ingest"
        self.set.mkdir(parents=True)

    def put(self, name: str, data: bytes) -> Path:
        path = self.set / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def run(self, **changes: Any) -> dict[str, Any]:
        wanted = {"source": "folder", "path": str(self.set), "image_size": 16} | changes
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        metrics = ingest.run(SHIPPED.model_copy(update=wanted), raw=self.raw, out=self.out)
        assert metrics["n_seen"] == metrics["n_accepted"] + metrics["n_quarantined"] + metrics["n_ignored"]
        assert metrics["n_accepted"] == len(self.manifest())
        assert metrics["n_quarantined"] == len(self.quarantine())
        return metrics

    def manifest(self) -> list[dict[str, Any]]:
        return pq.read_table(self.out / "manifest.parquet").to_pylist()

    def quarantine(self) -> list[dict[str, str]]:
        return read_csv(self.out / "quarantine.csv")

    def reasons(self) -> dict[str, str]:
        return {row["file"]: row["reason"] for row in self.quarantine()}

    def labels(self) -> Counter[str | None]:
        return Counter(row["label"] for row in self.manifest())
