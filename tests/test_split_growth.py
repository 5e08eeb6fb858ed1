"""What a split promises while data grows, whatever is found, judged or grouped on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.assignment import PLACES, place_samples
from stages.lib.binding import straddling_units, units_of
from stages.lib.components import components
from stages.lib.division import Division, Policy, Samples, divide
from stages.lib.errors import InputError

FRACTIONS = (0.2, 0.1, 0.7)
SEEDS = st.integers(0, 10**6)


@dataclass(frozen=True)
class World:
    """Samples in the order in which they arrive, and pairs of copies among them."""

    ids: list[str]
    labels: list[str | None]
    group: list[str | None]
    hint: list[str | None]
    pairs: list[tuple[int, int]]


def world(rng: np.random.Generator, official: bool = False) -> World:
    n, classes = int(rng.integers(12, 150)), int(rng.integers(2, 4))
    ids = [f"{rng.integers(10**9):x}-{k}" for k in range(n)]
    labels: list[str | None] = [f"class {k}" for k in rng.integers(0, classes, n)]
    group = [f"g{k}" if k < 12 else None for k in rng.integers(0, 60, n)]
    hint = [("train", "test", None, None)[k] if official else None for k in rng.integers(0, 4, n)]
    pairs = [(int(a), int(b)) for a, b in rng.integers(0, n, (int(rng.integers(0, n // 2)), 2))]
    return World(ids, labels, group, hint, pairs)


def near_of(pairs: Sequence[tuple[int, int]], n: int) -> list[str | None]:
    code = components(n, pairs)
    paired = {row for pair in pairs for row in pair}
    return [f"n{code[row]}" if row in paired else None for row in range(n)]


def split(data: World, rows: Sequence[int], near: Sequence[str | None], policy: Policy) -> Division | None:
    """Split the samples `rows`; None where the stage would refuse."""

    def only(column: Sequence[Any]) -> list[Any]:
        return [column[row] for row in rows]

    ids, groups, hints = only(data.ids), only(data.group), only(data.hint)
    kept, plain = ["keep"] * len(rows), np.zeros(len(rows), bool)
    samples = Samples(ids, only(data.labels), kept, plain, only(near), groups, hints)
    placement = place_samples(ids, groups, hints, 0, FRACTIONS[:2])
    try:
        return divide(samples, placement, policy)
    except InputError:
        return None


def steps(
    rng: np.random.Generator, data: World, policy: Policy
) -> Iterator[tuple[int, list[str | None], Division]]:
    """Yield (n, groups of copies, division) of growing data; a finder may miss a pair and find it again."""
    n = len(data.ids)
    for size in sorted({*rng.integers(3, n + 1, 8).tolist(), n}):
        here = [pair for pair in data.pairs if max(pair) < size and rng.random() < 0.9]
        near = near_of(here, size)
        division = split(data, range(size), near, policy)
        if division is not None:
            yield size, near, division


POLICIES = st.builds(
    Policy,
    st.just(FRACTIONS),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.integers(1, 3),
    st.sampled_from(["error", "train_only", "drop"]),
)


@given(SEEDS, POLICIES, st.booleans())
def test_nothing_of_train_ever_enters_test_and_test_is_left_only_for_nowhere_or_a_floor(
    seed: int, policy: Policy, official: bool
) -> None:
    rng = np.random.default_rng(seed)
    data = world(rng, official)
    trained: set[int] = set()
    floor: set[int] = set()
    tested: set[int] = set()
    for size, _, division in steps(rng, data, policy):
        now = {part: set(np.flatnonzero(division.names[:size] == part).tolist()) for part in PLACES}
        assert not now["test"] & trained
        assert (tested & (now["train"] | now["val"])) <= floor
        trained |= now["train"]
        tested |= now["test"]
        floor |= set(np.flatnonzero(division.why == "class minimum").tolist())


@given(SEEDS, POLICIES, st.booleans())
def test_every_move_stands_in_the_log_before_or_after_it(seed: int, policy: Policy, official: bool) -> None:
    rng = np.random.default_rng(seed)
    data = world(rng, official)
    names: list[str] = []
    logged: set[int] = set()
    for _, _, division in steps(rng, data, policy):
        now, logged_now = division.names.tolist(), set(np.flatnonzero(division.why != "").tolist())
        moved = {row for row, name in enumerate(names) if now[row] != name}
        assert moved <= logged | logged_now
        names, logged = now, logged_now


@given(SEEDS, POLICIES, st.booleans())
def test_no_unit_ever_straddles_but_by_an_official_split(seed: int, policy: Policy, official: bool) -> None:
    rng = np.random.default_rng(seed)
    data = world(rng, official)
    for size, near, division in steps(rng, data, policy):
        kept = np.isin(division.names, PLACES)
        unit = units_of((near, data.group[:size]), kept)[kept]
        astray = straddling_units(unit, np.searchsorted(sorted(PLACES), division.names[kept].astype(str)))
        hinted = np.array([hint is not None for hint in data.hint[:size]], bool)
        assert set(astray.tolist()) <= set(unit[hinted[kept]].tolist())


@given(SEEDS, POLICIES)
def test_the_split_is_a_function_of_the_set_of_samples(seed: int, policy: Policy) -> None:
    rng = np.random.default_rng(seed)
    data = world(rng, official=bool(seed % 2))
    near = near_of(data.pairs, len(data.ids))
    order = rng.permutation(len(data.ids)).tolist()
    plain, shuffled = (split(data, rows, near, policy) for rows in (range(len(order)), order))
    assert (plain is None) == (shuffled is None)
    if plain is not None and shuffled is not None:
        assert plain.names[order].tolist() == shuffled.names.tolist()
        assert plain.why[order].tolist() == shuffled.why.tolist()


def test_growth_laws_see_moves_floors_and_merges() -> None:
    """The laws above would hold of worlds in which nothing happens: in these, everything does."""
    policy = Policy(FRACTIONS, 0.1, 1, "error")
    seen: set[str] = set()
    n_divisions = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        for _, _, division in steps(rng, world(rng), policy):
            seen |= set(division.why.tolist())
            n_divisions += 1
    assert seen >= {"copy elsewhere", "follows a copy", "class minimum", "class share"}
    assert n_divisions > 100
