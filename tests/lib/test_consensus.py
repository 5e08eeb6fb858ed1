from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stages.lib.consensus import DIVIDED, TIED, plurality


def test_the_leading_label_wins_and_dissent_is_noted() -> None:
    assert plurality(["cat", "cat", "cat"]) == ("cat", None)
    assert plurality(["cat", "dog", "cat"]) == ("cat", DIVIDED)
    assert plurality([None, "dog", None]) == ("dog", None)


def test_no_label_is_invented_where_two_share_the_lead() -> None:
    assert plurality(["cat", "dog"]) == (None, TIED)
    assert plurality(["cat", "dog", "owl"]) == (None, TIED)
    assert plurality([None, None]) == (None, None)
    assert plurality([]) == (None, None)


@given(st.lists(st.one_of(st.none(), st.sampled_from("abc")), max_size=7))
def test_the_result_is_the_strict_maximum_of_a_plain_count_in_any_order(votes: list[str | None]) -> None:
    counts = Counter(vote for vote in votes if vote is not None)
    top = [label for label, n in counts.items() if n == max(counts.values())]
    label, finding = plurality(votes)
    assert label == (top[0] if len(top) == 1 else None)
    assert (finding is None) == (len(counts) <= 1)
    assert plurality(votes[::-1]) == (label, finding)
