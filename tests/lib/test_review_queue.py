from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.lib.artifacts import read_csv
from stages.lib.decisions import COLUMNS, read_decisions
from stages.lib.review_queue import DECISION_COLUMNS, QUEUE_COLUMNS, Waiting, entropy, queue_rows, write_queue

CLASSES = ["=1+1", "dog"]


def waiting(beliefs: np.ndarray, ids: list[str], pictures: list[int] | None = None) -> Waiting:
    n = len(ids)
    numbers = np.arange(n) if pictures is None else np.array(pictures)
    sources = [f"@row {k}" for k in range(n)]
    return Waiting(ids, [None] * n, ["conflicts"] * n, sources, numbers, beliefs.astype(np.float32))


def sure(*share: float) -> np.ndarray:
    """Return one member's beliefs: this share for the first of two classes."""
    return np.stack([share, 1 - np.array(share)], axis=1)[None]


def test_entropy_is_zero_when_certain_and_log_k_when_not() -> None:
    found = entropy(np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], np.float32))
    np.testing.assert_allclose(found, [0.0, np.log(3)], atol=1e-6)


def test_what_members_contradict_each_other_on_comes_before_what_all_find_ambiguous() -> None:
    beliefs = np.concatenate([sure(0.5, 0.9, 0.99), sure(0.5, 0.1, 0.99)])
    rows = queue_rows(waiting(beliefs, ["ambiguous", "contradicted", "clear"]), CLASSES)
    assert [row[0] for row in rows] == ["contradicted", "ambiguous", "clear"]


def test_one_network_alone_orders_by_how_unsure_it_is_and_ties_by_name() -> None:
    rows = queue_rows(waiting(sure(0.9, 0.5, 0.5, 0.7), ["d", "c", "b", "a"]), CLASSES)
    assert [row[0] for row in rows] == ["b", "c", "a", "d"]


def test_a_picture_that_is_queued_already_comes_after_all_others() -> None:
    rows = queue_rows(waiting(sure(0.5, 0.5, 0.99), ["a", "b", "c"], [7, 7, 8]), CLASSES)
    assert [row[0] for row in rows] == ["a", "c", "b"]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_disagreement_is_between_nothing_and_the_entropy_and_nothing_where_members_agree(
    shares: list[tuple[float, float]],
) -> None:
    beliefs = np.concatenate([sure(*column) for column in zip(*shares, strict=True)])
    ids = [f"s{k}" for k in range(len(shares))]
    at, spread = QUEUE_COLUMNS.index("disagreement"), QUEUE_COLUMNS.index("entropy")
    for row in queue_rows(waiting(beliefs, ids), CLASSES):
        one, other = shares[int(str(row[0])[1:])]
        assert 0 <= float(str(row[at])) <= float(str(row[spread])) + 1e-6
        if one == other:
            assert float(str(row[at])) == pytest.approx(0, abs=1e-6)


def test_a_queue_that_somebody_filled_in_is_a_file_of_decisions(tmp_path: Path) -> None:
    """Hostile names come back as they were; rows left empty decide nothing."""
    assert DECISION_COLUMNS == COLUMNS
    path = tmp_path / "decisions.csv"
    write_queue(path, waiting(sure(0.6, 0.5), ["=a", "b"]), CLASSES)
    given_labels: dict[str, str | None] = {"=a": None, "b": None}
    assert read_decisions(tmp_path, given_labels, CLASSES) == []
    rows = read_csv(path)
    assert [row["suggested_label"] for row in rows] == ["=1+1", "=1+1"]
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace("'=a,,,", "'=a,relabel,'=1+1,Ada")
    path.write_text("\n".join(lines) + "\n")
    [decision] = read_decisions(tmp_path, given_labels, CLASSES)
    assert (decision.sample_id, decision.decision, decision.label) == ("=a", "relabel", "=1+1")


def test_without_anybody_waiting_the_queue_is_its_header(tmp_path: Path) -> None:
    write_queue(tmp_path / "queue.csv", None, CLASSES)
    assert (tmp_path / "queue.csv").read_text() == ",".join(QUEUE_COLUMNS) + "\n"
