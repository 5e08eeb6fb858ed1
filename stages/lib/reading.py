"""From items that a source names to records: read, hash, decode in worker processes, encode, in order.

Small images travel in batches, because a pipe's cost (0.2 ms) exceeds that of a 32-pixel JPEG (0.14 ms);
large ones go alone, so that memory stays bounded.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from stages.lib.decode_pool import DecodePool, Stored
from stages.lib.decode_worker import Rules
from stages.lib.folder_scan import read_regular
from stages.lib.image_store import encode_png
from stages.lib.intake import Accepted, Facts, Record
from stages.lib.progress import track
from stages.lib.refusal import Quarantined, RefusalError
from stages.lib.signature import fits_extension

BATCH_ITEMS = 64
BATCH_BYTES = 2**20
"""Encoded bytes of a batch, and bytes of the pixels it becomes, at most (or one image)."""


@dataclass(frozen=True)
class Item:
    """One image to read: the bytes themselves, or the file that holds them."""

    facts: Facts
    content: bytes | Path


def read_items(items: Iterable[Item | Record], rules: Rules, total: int) -> Iterator[Record]:
    """Yield a record for each item in order; what is a record already passes through."""
    longest = max(1, min(BATCH_ITEMS, BATCH_BYTES // (3 * rules.image_size**2)))
    with closing(DecodePool(rules)) as pool:
        results = pool.ordered(lambda batch: _read_batch(batch, pool), batched(items, longest), held_bytes)
        yield from track((record for records in results for record in records), "images", total)


def batched(items: Iterable[Item | Record], longest: int) -> Iterator[list[Item | Record]]:
    """Yield runs of at most `longest` items that hold about BATCH_BYTES or less, or one item."""
    batch: list[Item | Record] = []
    held = 0
    for item in items:
        size = held_bytes([item])
        if batch and (len(batch) == longest or held + size > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += size
    if batch:
        yield batch


def held_bytes(batch: Iterable[Item | Record]) -> int:
    """Count the encoded bytes that items carry; files that are still on disk carry none."""
    return sum(
        len(item.content) for item in batch if isinstance(item, Item) and isinstance(item.content, bytes)
    )


def _read_batch(batch: list[Item | Record], pool: DecodePool) -> list[Record]:
    """Read a batch; files are decoded as soon as BATCH_BYTES of them wait, so few large ones are held."""
    records: list[Record] = []
    waiting: list[tuple[Item, bytes]] = []
    held = 0
    for item in batch:
        read = _read(item) if isinstance(item, Item) else item
        if isinstance(read, tuple):
            waiting.append(read)
            held += len(read[1])
            if held < BATCH_BYTES:
                continue
        records += _decode(waiting, pool)
        waiting, held = [], 0
        if not isinstance(read, tuple):
            records.append(read)
    return records + _decode(waiting, pool)


def _read(item: Item) -> tuple[Item, bytes] | Quarantined:
    if isinstance(item.content, bytes):
        return item, item.content
    try:
        return item, read_regular(item.content)
    except RefusalError as refusal:
        return refused(item.facts, refusal)


def refused(facts: Facts, refusal: RefusalError, digest: str = "") -> Quarantined:
    """Enter a refusal under the item's name and row."""
    return Quarantined(facts.name, refusal.reason, refusal.detail, digest, facts.row)


def _decode(waiting: list[tuple[Item, bytes]], pool: DecodePool) -> list[Record]:
    if not waiting:
        return []
    results = pool.decode_many([data for _, data in waiting])
    return [_record(item, data, result) for (item, data), result in zip(waiting, results, strict=True)]


def _record(item: Item, data: bytes, result: Stored | RefusalError) -> Accepted | Quarantined:
    digest = hashlib.sha256(data).hexdigest()
    if isinstance(result, RefusalError):
        return refused(item.facts, result, digest)
    fits = isinstance(item.content, bytes) or fits_extension(item.facts.name, result.format)
    return Accepted(
        facts=item.facts,
        sha256=digest,
        width=result.width,
        height=result.height,
        mode=result.mode,
        findings=result.findings if fits else (*result.findings, "extension_mismatch"),
        channels=1 if result.pixels.ndim == 2 else 3,
        png=encode_png(result.pixels),
    )
