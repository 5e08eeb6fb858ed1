"""Assign train, val and test by group and class, so that no copy straddles them.

From: the curated samples, the groups of copies (found or judged), the user's groups and an official split
where there is one.
Why so: a picture whose copy was trained on measures memory; a sample that changes sides as data grows
measures nothing. Each sample's part is a hash of itself alone (`lib/assignment.py`); where copies lie in
different parts, one side of them leads (`lib/binding.py`); class shares are held by a floor in test and a
guard between val and train (`lib/shares.py`). As data grows no sample of train ever enters test.
moves.csv lists every sample that is not where its hash put it, with the reason; leaks.csv the evaluated
samples that resemble others elsewhere, which only an official split can bring about (`lib/leaks.py`).
Cost: linear; 12 CPU s for a million rows in 10,000 classes.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from stages.lib.artifacts import read_json, read_table, write_csv, write_json
from stages.lib.assignment import PLACES, TEST, Placement, place_samples
from stages.lib.binding import NOBODY, straddling_units, units_of
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.division import Division, Policy, Samples, divide
from stages.lib.duplicate_findings import near_groups, read_pairs
from stages.lib.errors import InputError
from stages.lib.leaks import Leak, find_leaks, write_leaks
from stages.lib.ledger import FINDING_RULES
from stages.lib.rare_classes import RareClasses


class Params(Section):
    """How large the parts are, and what must be in each."""

    salt: int
    test_fraction: float = Field(gt=0, lt=1)
    val_fraction: float = Field(gt=0, lt=1)
    share_tolerance: float = Field(ge=0, le=1)
    min_per_class: int = Field(ge=1)
    rare_classes: RareClasses

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> "Params":
        if self.test_fraction + self.val_fraction >= 1:
            raise ValueError("test_fraction + val_fraction must be below 1: the rest is train")
        return self

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Fractions of test, val and train, in the order of PLACES."""
        train = 1 - self.test_fraction - self.val_fraction
        return self.test_fraction, self.val_fraction, train

    @property
    def policy(self) -> Policy:
        """What `lib/division.py` asks for."""
        return Policy(self.fractions, self.share_tolerance, self.min_per_class, self.rare_classes)


def require_all_parts(division: Division, labels: Sequence[str | None]) -> None:
    """Raise InputError where a split holds fewer than two classes, or a class that is never trained."""
    for part in PLACES:
        held = {labels[row] for row in np.flatnonzero(division.names == part).tolist()}
        if len(held) < 2:
            raise InputError(
                f"the {part} split holds {len(held)} class(es): nothing can be told apart there. Add images, "
                f"raise its fraction in params.yaml (split), or mark rows as {part} in the official split."
            )
        strange = sorted(str(name) for name in held if name not in division.classes)
        if strange:
            raise InputError(f"the {part} split holds classes that train lacks: {', '.join(strange[:20])}")


def share_rows(division: Division, labels: Sequence[str | None]) -> list[tuple[str, str, int]]:
    """Return rows (class, split, n), classes sorted, splits in the order train, val, test."""
    count: dict[tuple[str, str], int] = {}
    for name, label in zip(division.names, labels, strict=True):
        if name in PLACES:
            count[str(label), str(name)] = count.get((str(label), str(name)), 0) + 1
    return [(name, part, count.get((name, part), 0)) for name in division.classes for part in PLACES[::-1]]


def rare_rows(division: Division, labels: Sequence[str | None]) -> list[tuple[object, ...]]:
    """Return rows (class, train, val, test, sitting out) of the classes too small to be measured."""
    count = Counter(zip(labels, division.names, strict=True))
    parts = (*PLACES[::-1], "")
    return [(name, *(count[name, part] for part in parts)) for name in division.rare]


def summary(
    samples: Samples, placement: Placement, division: Division, leaks: Sequence[Leak], params: Params
) -> dict[str, Any]:
    """Return the stage's metrics; AssertionError if a unit straddles without an official split's order."""
    inside = np.isin(division.names, PLACES)
    code = {name: index for index, name in enumerate(PLACES)}
    place = np.array([code[name] for name in division.names[inside]], np.int64)
    unit = units_of((samples.near, samples.group), inside)[inside]
    straddling = straddling_units(unit, place)
    official = np.unique(unit[placement.official[inside]])
    assert not len(np.setdiff1d(straddling, official)), "a group straddles the split"
    why = division.why
    return {
        "n": {part: int((division.names == part).sum()) for part in (*PLACES, "neutral", "unlabelled")},
        "n_classes": len(division.classes),
        "n_sitting_out": int(((division.names == "") & (np.array(samples.status) != "drop")).sum()),
        "n_sitting_out_for_a_copy": int((why == "copy elsewhere").sum()),
        "n_following_a_copy": int((why == "follows a copy").sum()),
        "n_units_of_several": int((np.bincount(unit, minlength=1) > 1).sum()),
        "n_straddling_units": len(straddling),
        "n_leaked": {
            part: len({leak.sample_id for leak in leaks if leak.split == part}) for part in PLACES[:2]
        },
        "n_moved_for_class_minimum": int((why == "class minimum").sum()),
        "n_moved_for_class_share": int((why == "class share").sum()),
        "n_neutral_copies_of_test": _neutral_copies_of_test(samples, division),
        "rare_classes": len(division.rare),
        "max_share_deviation": _max_deviation(share_rows(division, samples.labels), division, params),
    }


def _neutral_copies_of_test(samples: Samples, division: Division) -> int:
    placed = list(zip(samples.near, division.names, strict=True))
    tested = {group for group, name in placed if name == PLACES[TEST]} - {None}
    return sum(name == "neutral" and group in tested for group, name in placed)


def _max_deviation(rows: Sequence[tuple[str, str, int]], division: Division, params: Params) -> float:
    """Return the largest distance of a class's share of a split from its fraction, rare classes aside."""
    n = np.array([count for _, _, count in rows], np.float64).reshape(-1, len(PLACES))[:, ::-1]
    common = ~np.isin(division.classes, division.rare)
    shares = n[common] / n[common].sum(axis=1, keepdims=True)
    return float(np.abs(shares - np.array(params.fractions)).max(initial=0.0))


def read_samples(curate: Path, duplicates: Path) -> Samples:
    """Read the curated samples and join their near-duplicate groups."""
    columns = ["sample_id", "label", "status", "reason", "group", "split_hint"]
    table = read_table(curate / "samples.parquet", columns).to_pydict()
    ids = table["sample_id"]
    made = [status != "keep" and reason in FINDING_RULES for status, reason in _zip(table)]
    near = near_groups(duplicates, ids)
    return Samples(
        ids, table["label"], table["status"], np.array(made, bool), near, table["group"], table["split_hint"]
    )


def _zip(table: dict[str, list[Any]]) -> list[tuple[str, str]]:
    return [(s, r or "") for s, r in zip(table["status"], table["reason"], strict=True)]


def moves(samples: Samples, placement: Placement, division: Division) -> list[tuple[str, str, str, str, str]]:
    """Return rows (sample_id, alone, split, why, leader) of samples that lie not where their hash says.

    `alone` is where the sample lies by itself; `split` is empty for who sits out; `leader` is whom it
    follows or gives way to.
    """
    ids, leader = samples.sample_ids, division.leader
    return [
        (
            ids[row],
            PLACES[placement.place[row]],
            str(division.names[row]),
            str(division.why[row]),
            "" if leader[row] == NOBODY else ids[leader[row]],
        )
        for row in np.flatnonzero(division.why != "").tolist()
    ]


def run(params: Params, *, curate: Path, duplicates: Path, validate: Path, out: Path) -> dict[str, Any]:
    """Write splits, classes, shares, moves and leaks; InputError where no fair split exists."""
    if not read_json(validate / "verdict.json")["passed"]:
        raise InputError(f"{validate}/verdict.json says the data did not pass: mend it, then `make repro`")
    samples = read_samples(curate, duplicates)
    placement = place_samples(
        samples.sample_ids, samples.group, samples.hint, params.salt, params.fractions[:2]
    )
    division = divide(samples, placement, params.policy)
    require_all_parts(division, samples.labels)
    pairs = read_pairs(duplicates / "pairs.csv", samples.sample_ids)
    leaks = find_leaks(samples.sample_ids, division.names, samples.near, samples.group, pairs)
    listed = np.flatnonzero(division.names != "").tolist()
    write_csv(
        out / "splits.csv",
        ["sample_id", "split"],
        [(samples.sample_ids[row], division.names[row]) for row in listed],
    )
    write_json(out / "classes.json", list(division.classes))
    write_csv(out / "shares.csv", ["class", "split", "n"], share_rows(division, samples.labels))
    write_csv(out / "rare.csv", ["class", "train", "val", "test", "out"], rare_rows(division, samples.labels))
    write_csv(
        out / "moves.csv",
        ["sample_id", "alone", "split", "why", "leader"],
        moves(samples, placement, division),
    )
    write_leaks(out / "leaks.csv", leaks)
    return summary(samples, placement, division, leaks, params)


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
