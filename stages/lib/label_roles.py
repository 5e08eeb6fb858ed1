"""What `ingest` knows of labels and later stages need; it travels in the manifest's metadata."""

import json
from collections.abc import Iterable

import pyarrow as pa

_KEY = b"neutral_labels"
_MADE = b"labels_made_of_votes"


def with_neutral_labels(manifest: pa.Table, labels: Iterable[str]) -> pa.Table:
    """Return the manifest with the labels that say "not sure" noted in its metadata."""
    known = dict(manifest.schema.metadata or {})
    noted = json.dumps(sorted(labels), ensure_ascii=False).encode()
    return manifest.replace_schema_metadata(known | {_KEY: noted})


def neutral_labels(manifest: pa.Table) -> frozenset[str]:
    """Return the labels that are no class; none where the manifest says nothing."""
    return frozenset(json.loads((manifest.schema.metadata or {}).get(_KEY, b"[]")))


def with_labels_made_of_votes(manifest: pa.Table) -> pa.Table:
    """Return the manifest with a note that all its labels are the plurality of annotators' labels."""
    return manifest.replace_schema_metadata(dict(manifest.schema.metadata or {}) | {_MADE: b"true"})


def labels_made_of_votes(manifest: pa.Table) -> bool:
    """Say whether the table had no label of its own, so that annotators are its only source."""
    return _MADE in (manifest.schema.metadata or {})
