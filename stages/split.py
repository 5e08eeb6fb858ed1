"""Assign train, val and test by group and class, so that no copy straddles them.

From: the curated samples, the near-duplicate groups, the user's groups and an official split where there is
one.
Why so: a picture whose copy was trained on measures memory; a sample that changes sides as data grows
measures nothing. Places come from a hash of each sample alone (`lib/assignment.py`), class shares are then
held within `share_tolerance` (`lib/shares.py`), and every sample that does not lie where its own hash put
it is listed in moves.csv with the reason.
Cost: linear; 12 CPU s for a million rows in 10,000 classes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.lib.artifacts import read_json, read_table, write_csv, write_json
from stages.lib.assignment import PLACES, TEST, TRAIN, Placement, place_samples, straddling_units
from stages.lib.cli import stage_main
from stages.lib.config import Section
from stages.lib.duplicate_findings import near_groups
from stages.lib.errors import InputError
from stages.lib.ledger import FINDING_RULES
from stages.lib.shares import Supervised, class_counts, hold_shares, lower_bounds

RareClasses = Literal["error", "train_only", "drop"]


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


@dataclass(frozen=True)
class Samples:
    """The curated table, column by column, with each sample's near-duplicate group."""

    sample_ids: list[str]
    labels: list[str | None]
    status: list[str]
    rule_made: np.ndarray  # (N,) bool: a rule, no person, changed it
    near: list[str | None]
    group: list[str | None]
    hint: list[str | None]


@dataclass(frozen=True)
class Division:
    """The finished split: names (N,) text, empty for who sits out; why (N,) text, the reason of a move."""

    names: np.ndarray
    why: np.ndarray
    classes: tuple[str, ...]
    rare: tuple[str, ...]


def divide(samples: Samples, placement: Placement, params: Params) -> Division:
    """Place every kept sample; InputError where a class cannot be in every part and params say `error`."""
    chosen = np.flatnonzero(supervised_mask(samples.status, samples.labels))
    names, labels = np.unique([str(samples.labels[row]) for row in chosen], return_inverse=True)
    classes = [str(name) for name in names]
    _require_two(classes)
    pool = _pool(samples, placement, chosen, labels.astype(np.int64))
    n = np.bincount(labels, minlength=len(classes))
    bounds = lower_bounds(n, params.fractions, params.share_tolerance, params.min_per_class)
    place = hold_shares(pool, placement.place[chosen], bounds, params.fractions)
    counts = class_counts(pool.labels, place, len(classes))
    rare = np.flatnonzero((counts < params.min_per_class).any(axis=1))
    if len(rare) and params.rare_classes == "error":
        raise InputError(_rare_message(classes, counts, rare, params.min_per_class))
    final, out = _set_rare_apart(pool, place, rare, params.rare_classes)
    return _division(samples, placement, chosen, (final, out), classes, rare)


def supervised_mask(status: Sequence[str], labels: Sequence[str | None]) -> np.ndarray:
    """Return (N,) bool: kept samples that have a class."""
    return np.array(
        [s in ("keep", "relabel") and name is not None for s, name in zip(status, labels, strict=True)], bool
    )


def _require_two(classes: Sequence[str]) -> None:
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no labelled sample at all"
        raise InputError(
            f"samples.parquet holds {found}: a classifier needs two classes or more. Add images of "
            "another class (a second folder under the source, or other values in the label column)."
        )


def _pool(samples: Samples, placement: Placement, chosen: np.ndarray, labels: np.ndarray) -> Supervised:
    touched = np.bincount(placement.unit, weights=samples.rule_made) > 0
    unit = placement.unit[chosen]
    return Supervised(labels, unit, placement.u[chosen], placement.official[chosen], touched[unit])


def _rare_message(classes: Sequence[str], counts: np.ndarray, rare: np.ndarray, least: int) -> str:
    lines = [
        f"  {classes[row]!r}: {counts[row].sum()} samples, of which "
        + ", ".join(f"{n} in {part}" for part, n in zip(PLACES, counts[row].tolist(), strict=True))
        for row in rare[:20].tolist()
    ]
    more = [f"  … and {len(rare) - 20} more"] if len(rare) > 20 else []
    return "\n".join(
        [
            f"{len(rare)} of {len(classes)} classes have fewer than {least} samples in a split "
            "(split.min_per_class; samples of one group cannot be parted):",
            *lines,
            *more,
            "Add images to these classes, merge them with others, or set split.rare_classes to train_only "
            "(learn them, but measure nothing on them) or drop (leave them out).",
        ]
    )


def _set_rare_apart(
    pool: Supervised, place: np.ndarray, rare: np.ndarray, policy: RareClasses
) -> tuple[np.ndarray, np.ndarray]:
    """Return places and (M,) bool who sits out.

    `train_only` takes units that hold rare classes alone to train; a rare sample whose companions lie in val
    or test, or whose place is official, cannot follow and sits out.
    """
    is_rare = np.isin(pool.labels, rare)
    if policy == "drop":
        return place, is_rare
    common_units = np.unique(pool.unit[~is_rare])
    may_go = is_rare & ~pool.fixed & ~np.isin(pool.unit, common_units)
    moved = np.where(may_go, TRAIN, place).astype(np.int8)
    return moved, is_rare & (moved != TRAIN)


def _division(
    samples: Samples,
    placement: Placement,
    chosen: np.ndarray,
    outcome: tuple[np.ndarray, np.ndarray],
    classes: Sequence[str],
    rare: np.ndarray,
) -> Division:
    place, out = outcome
    names = _unsupervised_names(samples)
    names[chosen] = np.where(out, "", np.array(PLACES, dtype=object)[place])
    why = np.full(len(names), "", dtype=object)
    own = np.array(PLACES, dtype=object)[placement.alone]
    in_chain = np.isin(names, PLACES)
    why[in_chain & (names != own)] = "group"
    why[in_chain & (names != own) & placement.official] = "official split"
    pre = placement.place[chosen]
    why[chosen[(place != pre) & ~out]] = "class share"
    is_rare = np.isin([samples.labels[row] for row in chosen], [classes[row] for row in rare])
    why[chosen[is_rare & (out | (place != pre))]] = "rare class"
    _hide_copies_of_test(samples.near, names, why)
    trained = tuple(sorted({str(samples.labels[row]) for row in np.flatnonzero(names == PLACES[TRAIN])}))
    return Division(names, why, trained, tuple(classes[row] for row in rare))


def _unsupervised_names(samples: Samples) -> np.ndarray:
    rows = [
        {"neutral": "neutral", "drop": ""}.get(status, "unlabelled" if label is None else "")
        for status, label in zip(samples.status, samples.labels, strict=True)
    ]
    return np.array(rows, dtype=object)


def _hide_copies_of_test(near: Sequence[str | None], names: np.ndarray, why: np.ndarray) -> None:
    """Take unlabelled near copies of test images out, in place: pretraining must not see a test image."""
    groups = np.array(near, dtype=object)
    tested = {group for group in groups[names == PLACES[TEST]].tolist() if group is not None}
    copies = (names == "unlabelled") & np.array([group in tested for group in near], bool)
    names[copies] = ""
    why[copies] = "copy of a test image"


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


def rare_rows(division: Division, labels: Sequence[str | None]) -> list[tuple[str, int, int, int, int]]:
    """Return rows (class, train, val, test, sitting out) of the classes too small to be measured."""
    count = Counter(zip(labels, division.names, strict=True))
    parts = (*PLACES[::-1], "")
    return [(name, *(count[name, part] for part in parts)) for name in division.rare]


def summary(samples: Samples, placement: Placement, division: Division, params: Params) -> dict[str, Any]:
    """Return the stage's metrics; AssertionError if a unit straddles without an official split's order."""
    inside = np.isin(division.names, PLACES)
    code = {name: index for index, name in enumerate(PLACES)}
    place = np.array([code[name] for name in division.names[inside]], np.int64)
    unit = placement.unit[inside]
    straddling = straddling_units(unit, place)
    official = np.unique(placement.unit[placement.official])
    assert not len(np.setdiff1d(straddling, official)), "a group straddles the split"
    why = division.why
    return {
        "n": {part: int((division.names == part).sum()) for part in (*PLACES, "neutral", "unlabelled")},
        "n_classes": len(division.classes),
        "n_sitting_out": int(((division.names == "") & (np.array(samples.status) != "drop")).sum()),
        "n_units_of_several": int((np.bincount(unit, minlength=1) > 1).sum()),
        "n_straddling_units": 0,
        "n_official_leaks": len(straddling),
        "n_moved_by_group": int((why == "group").sum()),
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


def moves(samples: Samples, placement: Placement, division: Division) -> list[tuple[str, int, str, str, str]]:
    """Return rows (sample_id, unit, alone, split, why) of samples that lie not where their own hash says."""
    rows = np.flatnonzero(division.why != "").tolist()
    return [
        (
            samples.sample_ids[row],
            int(placement.unit[row]),
            PLACES[placement.alone[row]],
            str(division.names[row]),
            str(division.why[row]),
        )
        for row in rows
    ]


def run(params: Params, *, curate: Path, duplicates: Path, validate: Path, out: Path) -> dict[str, Any]:
    """Write splits.csv, classes.json, shares.csv and moves.csv; InputError where no fair split exists."""
    if not read_json(validate / "verdict.json")["passed"]:
        raise InputError(f"{validate}/verdict.json says the data did not pass: mend it, then `make repro`")
    samples = read_samples(curate, duplicates)
    placement = place_samples(
        samples.sample_ids, samples.near, samples.group, samples.hint, params.salt, params.fractions[:2]
    )
    division = divide(samples, placement, params)
    require_all_parts(division, samples.labels)
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
        ["sample_id", "unit", "alone", "split", "why"],
        moves(samples, placement, division),
    )
    return summary(samples, placement, division, params)


if __name__ == "__main__":
    stage_main(__doc__, Params, run)
