import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.components import components


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    n = draw(st.integers(1, 25))
    node = st.integers(0, n - 1)
    return n, draw(st.lists(st.tuples(node, node), max_size=30))


def reachable(n: int, pairs: list[tuple[int, int]]) -> np.ndarray:
    """Return (n, n) bool by repeated squaring of the adjacency: the plain definition."""
    joined = np.eye(n, dtype=bool)
    for a, b in pairs:
        joined[a, b] = joined[b, a] = True
    for _ in range(n.bit_length()):
        joined = (joined.astype(int) @ joined.astype(int)) > 0
    return joined


@given(graphs())
def test_two_nodes_share_a_component_exactly_if_a_path_joins_them(
    graph: tuple[int, list[tuple[int, int]]],
) -> None:
    index = components(*graph)
    np.testing.assert_array_equal(index[:, None] == index[None, :], reachable(*graph))


@given(graphs())
def test_components_are_numbered_by_first_appearance(graph: tuple[int, list[tuple[int, int]]]) -> None:
    firsts = list(dict.fromkeys(components(*graph).tolist()))
    assert firsts == list(range(len(firsts)))


def test_a_chain_of_100_000_nodes_is_one_component_without_recursion() -> None:
    assert not components(100_000, zip(range(99_999), range(1, 100_000), strict=True)).any()
