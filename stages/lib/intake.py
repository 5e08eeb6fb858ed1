"""The books of `ingest`: every item that was seen, entered once, and what is written from them.

Images wait on disk, not in memory, because the store's header says how many channels they have, and that is
known only at the end.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow as pa

from stages.lib.folder_scan import label_variants
from stages.lib.refusal import Quarantined

ID_DIGITS = 16
"""Hex digits of a sample_id: 64 bits, one chance in 370,000 of a repeat among 10 million files (which then is
told apart by its suffix, as all repeats are)."""

QUARANTINE_COLUMNS = ("file", "reason", "detail", "sha256")

MANIFEST = pa.schema(
    [
        ("sample_id", pa.string()),
        ("label", pa.string()),
        ("source", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("mode", pa.string()),
        ("sha256", pa.string()),
        ("group", pa.string()),
        ("split_hint", pa.string()),
        ("findings", pa.string()),
    ]
)
"""Width and height are those of the upright original; `findings` are codes joined by commas."""


@dataclass(frozen=True)
class Accepted:
    """One image that will be used: where it came from, what it was, and its stored PNG."""

    name: str
    label: str | None
    sha256: str
    width: int
    height: int
    mode: str
    findings: tuple[str, ...]
    channels: int
    png: bytes


@dataclass(frozen=True)
class Announced:
    """A class that the source names, with or without usable images; not an item."""

    label: str


@dataclass(frozen=True)
class Ignored:
    """One entry that is no data: hidden, or left by an operating system."""


Record = Accepted | Quarantined | Ignored | Announced


class Spool:
    """Encoded images on disk until all are known: the store's header says how many channels they have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sizes: list[int] = []

    def append(self, data: bytes) -> None:
        """Keep one image."""
        self._file.write(data)
        self._sizes.append(len(data))

    def __iter__(self) -> Iterator[bytes]:
        """Yield the images in the order they came."""
        self._file.seek(0)
        for size in self._sizes:
            yield self._file.read(size)


@dataclass
class Intake:
    """What was taken in so far: rows of the manifest, quarantine, counts, and a digest of the content."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    announced: set[str] = field(default_factory=set)
    n_seen: int = 0
    n_ignored: int = 0
    channels: int = 1
    findings: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    digest: Any = field(default_factory=hashlib.sha256)

    def take(self, record: Record, spool: Spool) -> None:
        """Enter one record into the books."""
        if isinstance(record, Announced):
            self.announced.add(record.label)
            return
        self.n_seen += 1
        if isinstance(record, Ignored):
            self.n_ignored += 1
        elif isinstance(record, Quarantined):
            self.quarantined.append(record)
        else:
            self._accept(record, spool)

    def _accept(self, image: Accepted, spool: Spool) -> None:
        sample_id = self._sample_id(image.sha256)
        self.channels = max(self.channels, image.channels)
        self.findings.update(image.findings)
        self.digest.update(f"{sample_id} {len(image.png)} ".encode() + image.png)
        spool.append(image.png)
        self.rows.append(
            {
                "sample_id": sample_id,
                "label": image.label,
                "source": image.name,
                "width": image.width,
                "height": image.height,
                "mode": image.mode,
                "sha256": image.sha256,
                "group": None,
                "split_hint": None,
                "findings": ",".join(sorted(image.findings)),
            }
        )

    def _sample_id(self, sha256: str) -> str:
        name = sha256[:ID_DIGITS]
        self.repeats[name] += 1
        return name if self.repeats[name] == 1 else f"{name}-{self.repeats[name]}"

    def manifest(self) -> pa.Table:
        """Return one row per accepted image, in source order."""
        return pa.Table.from_pylist(self.rows, schema=MANIFEST)

    def images(self, spool: Spool) -> Iterator[tuple[str, bytes]]:
        """Yield (sample_id, PNG bytes) in manifest order."""
        for row, png in zip(self.rows, spool, strict=True):
            yield row["sample_id"], png

    def quarantine_rows(self) -> list[tuple[str, str, str, str]]:
        """Return the lines of quarantine.csv, by file name."""
        rows = [(item.file, item.reason, item.detail, item.sha256) for item in self.quarantined]
        return sorted(rows)

    def quarantine_by_reason(self) -> dict[str, int]:
        """Count refusals by reason, the most frequent first."""
        return dict(Counter(item.reason for item in self.quarantined).most_common())

    def metrics(self) -> dict[str, Any]:
        """Return the counts that metrics.json holds; they balance, or a record was lost."""
        assert len(self.rows) + len(self.quarantined) + self.n_ignored == self.n_seen
        labels = [row["label"] for row in self.rows]
        variants = label_variants(label for label in labels if label is not None)
        return {
            "n_seen": self.n_seen,
            "n_accepted": len(self.rows),
            "n_quarantined": len(self.quarantined),
            "n_ignored": self.n_ignored,
            "n_unlabelled": labels.count(None),
            "n_classes": len(set(labels) - {None}),
            "quarantine_by_reason": self.quarantine_by_reason(),
            "findings": dict(self.findings),
            "modes": dict(Counter(row["mode"] for row in self.rows)),
            "channels": self.channels,
            "median_width": self.median("width"),
            "median_height": self.median("height"),
            "classes_without_images": sorted(self.announced.difference(labels)),
            "label_variants": variants,
            "n_label_variants": sum(map(len, variants.values())),
        }

    def median(self, side: str) -> float:
        """Return the median `width` or `height` of the accepted originals, in pixels."""
        return float(np.median([row[side] for row in self.rows]))
