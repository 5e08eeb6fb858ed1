"""Which labels are no class: a fact that `ingest` knows and that travels in the manifest's metadata."""

import json
from collections.abc import Iterable

import pyarrow as pa

_KEY = b"neutral_labels"


def with_neutral_labels(manifest: pa.Table, labels: Iterable[str]) -> pa.Table:
    """Return the manifest with the labels that say "not sure" noted in its metadata."""
    known = dict(manifest.schema.metadata or {})
    noted = json.dumps(sorted(labels), ensure_ascii=False).encode()
    return manifest.replace_schema_metadata(known | {_KEY: noted})


def neutral_labels(manifest: pa.Table) -> frozenset[str]:
    """Return the labels that are no class; none where the manifest says nothing."""
    return frozenset(json.loads((manifest.schema.metadata or {}).get(_KEY, b"[]")))
