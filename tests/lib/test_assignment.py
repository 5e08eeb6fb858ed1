import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.assignment import PLACES, TEST, TRAIN, VAL, Placement, place_samples
from stages.lib.errors import InputError

FRACTIONS = (0.2, 0.1)
GOLDEN = {"test": [18, 21, 24], "val": [2, 6, 22, 23]}

Rows = list[tuple[str, str | None]]


@st.composite
def tables(draw: st.DrawFn) -> Rows:
    """Rows (sample_id, user group)."""
    ids = draw(st.lists(st.text(max_size=6), min_size=1, max_size=40, unique=True))
    group = st.one_of(st.none(), st.sampled_from("abcdefgh"))
    return [(sample_id, draw(group)) for sample_id in ids]


def place(rows: Rows, salt: int = 0, hints: list[str | None] | None = None) -> Placement:
    ids, user = [row[0] for row in rows], [row[1] for row in rows]
    return place_samples(ids, user, hints or [None] * len(rows), salt, FRACTIONS)


@given(tables())
def test_a_sample_lies_where_it_would_lie_in_a_data_set_of_its_own(rows: Rows) -> None:
    assert place(rows).place.tolist() == [int(place([row]).place[0]) for row in rows]


@given(tables())
def test_members_of_a_user_group_lie_together(rows: Rows) -> None:
    found: dict[str | None, set[int]] = {}
    for (_, group), code in zip(rows, place(rows).place.tolist(), strict=True):
        found.setdefault(group, set()).add(code)
    assert all(len(codes) == 1 for group, codes in found.items() if group is not None)


def test_a_user_group_stays_where_it_is_while_members_join() -> None:
    for name in "abcdefghijklmnop":
        group: Rows = [(f"{name}{k}", name) for k in range(50)]
        assert len({int(place(group[:n]).place[0]) for n in (1, 2, 10, 50)}) == 1


def test_a_sample_and_a_group_of_the_same_name_draw_independently() -> None:
    names = [f"n{k}" for k in range(2000)]
    alone = place([(name, None) for name in names]).place
    grouped = place([(f"other {name}", name) for name in names]).place
    # Independent draws with these shares agree in 0.2² + 0.1² + 0.7² = 0.54; the same draw in 1.
    assert 0.5 < (alone == grouped).mean() < 0.58


@pytest.mark.parametrize("size", [1, 2, 5])
def test_shares_of_samples_are_the_fractions_whatever_the_size_of_units(size: int) -> None:
    """Planted: 12,000 units; a unit is placed by one draw, so its share of test is 0.2 for any size."""
    rows: Rows = [(f"s{k}", f"g{k // size}") for k in range(12_000 * size)]
    shares = np.bincount(place(rows).place, minlength=3) / len(rows)
    # Four standard deviations of a binomial share of 12,000 units.
    np.testing.assert_allclose(shares, [0.2, 0.1, 0.7], atol=4 * np.sqrt(0.21 / 12_000))


def test_another_salt_is_another_split() -> None:
    rows: Rows = [(f"s{k}", None) for k in range(1000)]
    assert 0.4 < (place(rows, 0).place == place(rows, 1).place).mean() < 0.7


def test_the_places_of_known_samples_never_change() -> None:
    """Golden: a change of the hash would move every sample of every user."""
    found = place([(f"s{k}", None) for k in range(30)]).place
    assert {PLACES[code]: np.flatnonzero(found == code).tolist() for code in (TEST, VAL)} == GOLDEN


def test_an_official_split_is_honoured_in_any_spelling() -> None:
    rows: Rows = [(f"s{k}", f"g{k}") for k in range(40)]
    hints: list[str | None] = [("Testing", " validation ", "train")[k % 3] for k in range(40)]
    placement = place(rows, hints=hints)
    assert placement.place.tolist() == [(TEST, VAL, TRAIN)[k % 3] for k in range(40)]
    assert placement.official.all()
    assert not placement.lent.any()


def test_an_official_split_without_val_gets_one_out_of_train_alone() -> None:
    rows: Rows = [(f"s{k}", None) for k in range(4000)]
    hints: list[str | None] = ["test" if k < 1000 else "train" for k in range(4000)]
    placement = place(rows, hints=hints)
    found = placement.place
    assert ((found == VAL) == placement.lent).all()
    assert (found[:1000] == TEST).all()
    assert not (found[1000:] == TEST).any()
    assert 0.08 < (found[1000:] == VAL).mean() < 0.12


def test_an_unknown_official_split_is_refused_with_the_rows() -> None:
    with pytest.raises(InputError, match=r"1 rows name an unknown split(.|\n)*b: 'holdout'"):
        place([("a", None), ("b", None)], hints=["test", "holdout"])
