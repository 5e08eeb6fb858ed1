"""The queue of samples that wait for a person: pre-labelled by the ensemble, most useful first.

Useful is where the members contradict each other (mutual information, Houlsby et al. 2011): there a label
decides between them. The entropy of their mean would put first what every member finds ambiguous, and people
too; it orders what the members agree on (bench/queue_order.py). A picture that is queued already comes after
all that are not. The first columns are those of decisions.csv, empty: who fills a row in has written a
decision.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.artifacts import write_csv

DECISION_COLUMNS = ("sample_id", "decision", "label", "who", "when", "note")
"""What decisions.csv asks for; the rest of a row it passes over."""

QUEUE_COLUMNS = (
    *DECISION_COLUMNS,
    "suggested_label",
    "confidence",
    "entropy",
    "disagreement",
    "given_label",
    "reason",
    "source",
)


DIGITS = 6
"""Disagreement is compared to so many digits: less is float32's rounding, not members' opinion."""


@dataclass(frozen=True)
class Waiting:
    """The n samples that wait, and what is known of them.

    given_labels, reasons (why curation set them aside), sources (file or row of the image): (n,);
    pictures (n,): a number a distinct picture; beliefs (members, n, K): each network's pred_probs.
    """

    sample_ids: Sequence[str]
    given_labels: Sequence[str | None]
    reasons: Sequence[str]
    sources: Sequence[str]
    pictures: np.ndarray
    beliefs: np.ndarray


def entropy(pred_probs: np.ndarray) -> np.ndarray:
    """Return the entropy (...,) in nats of pred_probs (..., K): 0 certain, log K knows nothing."""
    probs = pred_probs.astype(float)
    logs = np.log(np.where(probs > 0, probs, 1.0))
    return np.asarray(-(probs * logs).sum(-1))


def queue_rows(waiting: Waiting, classes: Sequence[str]) -> list[tuple[object, ...]]:
    """Return one QUEUE_COLUMNS row a sample: most disagreement first, then entropy, repeated pictures last.

    disagreement is the part of the entropy that comes from members contradicting each other; what is left is
    a picture that every member finds ambiguous. One network alone never disagrees. Last tie-break: sample_id.
    """
    mean = waiting.beliefs.mean(0)
    spread = entropy(mean)
    disagreement = np.maximum(spread - entropy(waiting.beliefs).mean(0), 0.0)
    best = mean.argmax(1)
    return [
        (
            waiting.sample_ids[at],
            *("",) * (len(DECISION_COLUMNS) - 1),
            classes[best[at]],
            mean[at, best[at]],
            spread[at],
            disagreement[at],
            waiting.given_labels[at],
            waiting.reasons[at],
            waiting.sources[at],
        )
        for at in _order(waiting, disagreement, spread)
    ]


def _order(waiting: Waiting, disagreement: np.ndarray, spread: np.ndarray) -> list[int]:
    decisive = disagreement.round(DIGITS)
    useful = sorted(range(len(spread)), key=lambda at: (-decisive[at], -spread[at], waiting.sample_ids[at]))
    seen: set[int] = set()
    first: list[int] = []
    repeated: list[int] = []
    for at in useful:
        picture = int(waiting.pictures[at])
        (repeated if picture in seen else first).append(at)
        seen.add(picture)
    return first + repeated


def write_queue(path: Path, waiting: Waiting | None, classes: Sequence[str]) -> None:
    """Write review_queue.csv: the header alone when nobody waits."""
    write_csv(path, QUEUE_COLUMNS, [] if waiting is None else queue_rows(waiting, classes))
