"""The books of `ingest`: every item that was seen, entered once, and what is written from them.

Images wait on disk, not in memory, because the store's header says how many channels they have, and that is
known only at the end. Rows wait as Arrow columns: about 0.3 KB each, where a dictionary takes 1.5.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.lib import human_counts
from stages.lib.folder_scan import label_variants
from stages.lib.label_roles import with_neutral_labels
from stages.lib.refusal import Quarantined

ID_DIGITS = 16
"""Hex digits of a sample_id: 64 bits, one chance in 370,000 of a repeat among 10 million files (which then is
told apart by its suffix, as all repeats are)."""

QUARANTINE_COLUMNS = ("file", "reason", "detail", "sha256", "row")
"""`row` is the row of a table that named the file, or empty."""

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
"""Width and height are those of the upright original; `findings` are codes joined by commas. Columns
`annotator_<name>`, text or null, and `human_counts` follow where the source has them."""

ANNOTATOR_PREFIX = "annotator_"

ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Facts:
    """What a source says of an item before its pixels are read; `votes` are the annotators', in order.
    `counts`: votes of many people, a number a class.

    Without a `sample_id` the item is named by the hash of its bytes. `row` is its row in the user's table.
    """

    name: str
    label: str | None = None
    sample_id: str | None = None
    group: str | None = None
    split_hint: str | None = None
    votes: tuple[str | None, ...] = ()
    counts: tuple[int, ...] | None = None
    findings: tuple[str, ...] = ()
    row: int | None = None


@dataclass(frozen=True)
class Accepted:
    """One image that will be used: what was said of it, what its file was, and its stored PNG."""

    facts: Facts
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
    """One entry that is not used and needs no mending: hidden files, what systems leave, a dropped label."""

    reason: str = "no_data"


Record = Accepted | Quarantined | Ignored | Announced


class Spool:
    """Encoded images on disk until all are known: the store's header says how many channels they have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sizes = array("Q")

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

    annotators: tuple[str, ...] = ()
    counted: bool = False
    neutral: tuple[str, ...] = ()
    quarantined: list[Quarantined] = field(default_factory=list)
    announced: set[str] = field(default_factory=set)
    n_seen: int = 0
    n_accepted: int = 0
    ignored: Counter[str] = field(default_factory=Counter)
    channels: int = 1
    findings: Counter[str] = field(default_factory=Counter)
    repeats: Counter[str] = field(default_factory=Counter)
    digest: Any = field(default_factory=hashlib.sha256)
    _waiting: list[tuple[Any, ...]] = field(default_factory=list)
    _batches: list[pa.RecordBatch] = field(default_factory=list)

    def take(self, record: Record, spool: Spool) -> None:
        """Enter one record into the books."""
        if isinstance(record, Announced):
            self.announced.add(record.label)
            return
        self.n_seen += 1
        if isinstance(record, Ignored):
            self.ignored[record.reason] += 1
        elif isinstance(record, Quarantined):
            self.quarantined.append(record)
        else:
            self._accept(record, spool)

    def _accept(self, image: Accepted, spool: Spool) -> None:
        facts = image.facts
        sample_id = facts.sample_id or self._sample_id(image.sha256)
        findings = sorted({*facts.findings, *image.findings}) if facts.findings or image.findings else ()
        self.n_accepted += 1
        self.channels = max(self.channels, image.channels)
        self.findings.update(findings)
        self.digest.update(f"{sample_id} {len(image.png)} ".encode() + image.png)
        spool.append(image.png)
        row = (
            sample_id,
            facts.label,
            facts.name,
            image.width,
            image.height,
            image.mode,
            image.sha256,
            facts.group,
            facts.split_hint,
            ",".join(findings),
        )
        counts = (facts.counts,) if self.counted else ()
        self._waiting.append(row + facts.votes + counts)
        if len(self._waiting) == ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Turn the waiting rows into columns."""
        if self._waiting:
            columns = zip(*self._waiting, strict=True)
            schema = self._schema()
            arrays = [pa.array(cells, kind) for cells, kind in zip(columns, schema.types, strict=True)]
            self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            self._waiting.clear()

    def _schema(self) -> pa.Schema:
        counts = [(human_counts.COLUMN, pa.list_(pa.int32()))] if self.counted else []
        return pa.schema([*MANIFEST, *((name, pa.string()) for name in self.annotators), *counts])

    def _sample_id(self, sha256: str) -> str:
        name = sha256[:ID_DIGITS]
        self.repeats[name] += 1
        return name if self.repeats[name] == 1 else f"{name}-{self.repeats[name]}"

    def manifest(self) -> pa.Table:
        """Return one row per accepted image, in source order."""
        self._flush()
        return with_neutral_labels(pa.Table.from_batches(self._batches, self._schema()), self.neutral)

    def images(self, spool: Spool) -> Iterator[tuple[str, bytes]]:
        """Yield (sample_id, PNG bytes) in manifest order."""
        self._flush()
        ids = (sample_id for batch in self._batches for sample_id in batch["sample_id"].to_pylist())
        yield from zip(ids, spool, strict=True)

    def quarantine_rows(self) -> list[tuple[str, str, str, str, int | None]]:
        """Return the lines of quarantine.csv, by file name and row."""
        found = sorted(self.quarantined, key=lambda item: (item.file, item.row or 0, item.reason))
        return [(item.file, item.reason, item.detail, item.sha256, item.row) for item in found]

    def quarantine_by_reason(self) -> dict[str, int]:
        """Count refusals by reason, the most frequent first."""
        return dict(Counter(item.reason for item in self.quarantined).most_common())

    def metrics(self) -> dict[str, Any]:
        """Return the counts that metrics.json holds; they balance, or a record was lost."""
        n_ignored = self.ignored.total()
        assert self.n_accepted + len(self.quarantined) + n_ignored == self.n_seen
        table = self.manifest()
        labels = counts_of(table["label"])
        variants = label_variants(labels)
        return {
            "n_seen": self.n_seen,
            "n_accepted": self.n_accepted,
            "n_quarantined": len(self.quarantined),
            "n_ignored": n_ignored,
            "n_unlabelled": table["label"].null_count,
            "n_neutral": sum(labels.get(label, 0) for label in set(self.neutral)),
            "n_classes": len(set(labels).difference(self.neutral)),
            "n_groups": len(counts_of(table["group"])),
            "split_hints": counts_of(table["split_hint"]),
            "ignored_by_reason": dict(self.ignored),
            "quarantine_by_reason": self.quarantine_by_reason(),
            "findings": dict(self.findings),
            "modes": counts_of(table["mode"]),
            "channels": self.channels,
            "median_width": float(np.median(table["width"].to_numpy())),
            "median_height": float(np.median(table["height"].to_numpy())),
            "classes_without_images": sorted(self.announced.difference(labels)),
            "label_variants": variants,
            "n_label_variants": sum(map(len, variants.values())),
        }


def counts_of(column: pa.ChunkedArray) -> dict[str, int]:
    """Count the different texts of a column, nulls aside."""
    texts, counts = pc.value_counts(column.drop_null()).flatten()
    return dict(zip(texts.to_pylist(), counts.to_pylist(), strict=True))
