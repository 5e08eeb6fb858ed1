"""One label out of several people's: the one that most of them gave, and nothing where two share the lead.

Plain on purpose: `ingest` does not weigh people, because that needs a model of them. The votes travel on in
the manifest, so that `label_noise` can.
"""

from collections import Counter
from collections.abc import Sequence

TIED = "annotators_tie"
DIVIDED = "annotators_disagree"
"""Findings: no label leads; a label leads and somebody gave another."""


def plurality(votes: Sequence[str | None]) -> tuple[str | None, str | None]:
    """Return (label, finding) of one image's votes; None votes are absent ones."""
    counts = Counter(vote for vote in votes if vote is not None).most_common(2)
    if not counts:
        return None, None
    if len(counts) == 1:
        return counts[0][0], None
    if counts[0][1] == counts[1][1]:
        return None, TIED
    return counts[0][0], DIVIDED
