import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.assignment import PLACES, TEST, TRAIN, VAL, Placement, place_samples
from stages.lib.binding import Bound, bind, straddling_units, units_of

FRACTIONS = (0.3, 0.2)

Rows = list[tuple[str, str | None, str | None, str | None]]


@st.composite
def tables(draw: st.DrawFn, hints: bool = False) -> Rows:
    """Rows (sample_id, group of copies, user group, official split)."""
    ids = draw(st.lists(st.text(max_size=4), min_size=1, max_size=40, unique=True))
    group = st.one_of(st.none(), st.sampled_from("abcdefgh"))
    hint = st.sampled_from([None, "train", "test"]) if hints else st.none()
    return [(sample_id, draw(group), draw(group), draw(hint)) for sample_id in ids]


def settle(rows: Rows) -> tuple[Placement, Bound, np.ndarray]:
    ids, near, user, hints = ([row[k] for row in rows] for k in range(4))
    placement = place_samples(ids, user, hints, 0, FRACTIONS)  # type: ignore[arg-type]
    bound = bind(placement, ids, (near, user), np.ones(len(rows), bool))  # type: ignore[arg-type]
    return placement, bound, units_of((near, user), ~bound.out)


@given(tables())
def test_no_unit_straddles_and_nobody_enters_or_leaves_test(rows: Rows) -> None:
    placement, bound, unit = settle(rows)
    kept = ~bound.out
    assert not len(straddling_units(unit[kept], bound.place[kept]))
    assert ((bound.place == TEST) == (placement.place == TEST)).all()


@given(tables(hints=True))
def test_only_what_is_official_may_straddle(rows: Rows) -> None:
    placement, bound, unit = settle(rows)
    kept = ~bound.out
    assert not (bound.out & placement.official).any()
    astray = straddling_units(unit[kept], bound.place[kept])
    assert set(astray.tolist()) <= set(unit[kept & placement.official].tolist())


@given(tables(hints=True), st.randoms())
def test_the_outcome_does_not_depend_on_the_order_of_rows(rows: Rows, random: object) -> None:
    def by_id(rows: Rows) -> dict[str, tuple[int, str | None]]:
        _, bound, _ = settle(rows)
        other = [None if k < 0 else rows[k][0] for k in bound.leader.tolist()]
        return dict(zip([row[0] for row in rows], zip(bound.place.tolist(), other, strict=True), strict=True))

    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert by_id(shuffled) == by_id(rows)


@given(tables())
def test_somebody_of_every_group_of_copies_stays(rows: Rows) -> None:
    """Among samples in no user group; there, one group's leader may give way to another's."""
    rows = [(sample_id, near, None, None) for sample_id, near, _, _ in rows]
    _, bound, _ = settle(rows)
    kept = {row[1] for row, out in zip(rows, bound.out.tolist(), strict=True) if not out}
    assert kept == {row[1] for row in rows}


@pytest.mark.parametrize("size", [2, 10])
def test_parts_keep_their_share_of_scenes_whatever_the_size_of_a_scene(size: int) -> None:
    """Planted: 6,000 scenes of several shots; a scene lies where its leader's draw puts it."""
    rows: Rows = [(f"s{k}", f"n{k // size}", None, None) for k in range(6000 * size)]
    _, bound, _ = settle(rows)
    scene_place = {
        row[1]: code for row, code, out in zip(rows, bound.place, bound.out, strict=True) if not out
    }
    shares = np.bincount(list(scene_place.values()), minlength=3) / 6000
    # Four standard deviations of a binomial share of 6,000.
    np.testing.assert_allclose(shares, [0.3, 0.2, 0.5], atol=4 * np.sqrt(0.25 / 6000))


def test_i20_an_official_leak_stays_and_what_is_unofficial_beside_it_sits_out() -> None:
    rows: Rows = [("a", "g", None, "train"), ("b", "g", None, "test"), ("c", "g", None, None)]
    _, bound, unit = settle(rows)
    assert bound.out.tolist() == [False, False, True]
    assert straddling_units(unit[:2], bound.place[:2]).tolist() == [0]


def test_what_train_lent_to_val_returns_if_a_copy_stays_in_train() -> None:
    alone: Rows = [(f"s{k}", None, None, "train") for k in range(200)]
    placement, _, _ = settle(alone)
    lent, kept = int(np.flatnonzero(placement.lent)[0]), int(np.flatnonzero(~placement.lent)[0])
    joined = list(alone)
    for row in (lent, kept):
        joined[row] = (joined[row][0], "copies", None, "train")
    _, bound, _ = settle(joined)
    assert (PLACES[placement.place[lent]], bound.place[lent]) == ("val", TRAIN)
    assert (bound.place[placement.lent] == VAL).sum() == placement.lent.sum() - 1
    assert not (bound.place == TEST).any()
    assert not bound.out.any()
