import numpy as np
import pytest

from stages.lib import abstention


def part(n: int, sharpness: float, seed: int) -> abstention.Part:
    """Return probabilities that are `sharpness` times too sure, labels, and everybody alone."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 2
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (true.cumsum(1) > rng.random((n, 1))).argmax(1)
    stated = np.exp(sharpness * logits)
    return stated / stated.sum(1, keepdims=True), labels, np.arange(n)


def test_the_temperature_undoes_what_made_the_model_too_sure() -> None:
    val, test = part(3000, 2.0, 0), part(3000, 2.0, 1)
    found = abstention.operating_point(val, test, 0.05, 15, 0.95)
    assert found is not None
    assert found["temperature"] == pytest.approx(2.0, abs=0.2)
    assert found["ece"] < 0.03


def test_the_bound_on_errors_that_val_chose_holds_about_on_test_and_the_rest_is_not_answered() -> None:
    val, test = part(4000, 1.0, 2), part(4000, 1.0, 3)
    found = abstention.operating_point(val, test, 0.1, 15, 0.95)
    assert found is not None
    assert found["risk"] == pytest.approx(0.1, abs=0.03)
    assert found["risk_ci"][0] <= found["risk"] <= found["risk_ci"][1]
    assert 0.2 < found["coverage"] < 0.9
    assert found["n_answered"] == round(found["coverage"] * 4000)


def test_without_val_there_is_no_operating_point_and_a_hopeless_model_answers_nothing() -> None:
    test = part(50, 1.0, 4)
    empty = test[0][:0], test[1][:0], test[2][:0]
    assert abstention.operating_point(empty, test, 0.1, 15, 0.95) is None
    wrong = test[0], (test[0].argmax(1) + 1) % 4, test[2]
    found = abstention.operating_point(wrong, wrong, 0.1, 15, 0.95)
    assert found is not None
    assert (found["n_answered"], found["risk"]) == (0, None)


def test_the_area_is_the_mean_risk_of_a_plain_loop_and_ties_have_no_order() -> None:
    rng = np.random.default_rng(5)
    confidence, right = rng.random(40), rng.random(40) < 0.7
    order = np.argsort(-confidence)
    expected = np.mean([np.mean(~right[order[: k + 1]]) for k in range(40)])
    assert abstention.area(confidence, right) == pytest.approx(expected, abs=1e-12)
    assert abstention.area(np.ones(40), right) == pytest.approx(1 - right.mean())


def test_the_curve_ends_at_answering_everything_and_holds_its_intervals() -> None:
    test = part(500, 1.0, 6)
    rows = abstention.risk_curve(test[0], test, 0.95)
    assert len(rows) == abstention.POINTS
    assert rows[-1][0] == 1.0
    assert rows[-1][1] == pytest.approx(np.mean(test[0].argmax(1) != test[1]))
    coverages = [row[0] for row in rows]
    assert coverages == sorted(coverages)
    for coverage, risk, low, high, n, bound in rows:
        assert low <= risk <= high
        assert n == round(coverage * 500) == int((test[0].max(1) >= bound).sum())
    even = np.full((10, 2), 0.5), np.zeros(10, np.int64), np.arange(10)
    assert len(abstention.risk_curve(even[0], even, 0.95)) == 1
