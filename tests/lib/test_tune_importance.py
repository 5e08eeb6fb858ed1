"""What mattered is told from what a forest sees in noise."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, create_trial

from stages.lib.artifacts import read_csv
from stages.lib.tune_importance import importances, write_importances
from stages.lib.tune_words import importance_sentence

SPACE = {
    "train.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "train.dropout": FloatDistribution(0.0, 0.5),
    "train.schedule.kind": CategoricalDistribution(['"cosine"', '"step"']),
}


@pytest.fixture(autouse=True)
def _small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.lib.tune_importance.TREES", 8)


def trials(n: int, value: Callable[[float, np.random.Generator], float]) -> list[FrozenTrial]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        rate = float(10 ** rng.uniform(-4, -1))
        kind = ['"cosine"', '"step"'][rng.integers(2)]
        params = {"train.learning_rate": rate, "train.dropout": float(rng.uniform(0, 0.5))}
        found.append(
            create_trial(
                params={**params, "train.schedule.kind": kind}, distributions=SPACE, value=value(rate, rng)
            )
        )
    return found


def test_the_param_that_makes_the_value_is_found_and_the_others_are_not(tmp_path: Path) -> None:
    found = importances(trials(30, lambda rate, _: -((np.log10(rate) + 2) ** 2)), SPACE, seed=0)
    assert found[0].key == "train.learning_rate"
    assert found[0].share > 0.5
    assert [one.key for one in found if one.shown] == ["train.learning_rate"]
    assert "(p ≤ 0.05): train.learning_rate" in importance_sentence(found, 30)
    write_importances(tmp_path / "importance.csv", found)
    rows = read_csv(tmp_path / "importance.csv")
    assert [row["param"] for row in rows] == [one.key for one in found]
    assert {row["n"] for row in rows} == {"30"}


def test_noise_has_no_importances_to_speak_of() -> None:
    found = importances(trials(30, lambda _, rng: float(rng.normal())), SPACE, seed=0)
    assert len(found) == 3
    assert not any(one.shown for one in found)
    assert "these shares mean nothing" in importance_sentence(found, 30)


def test_few_trials_and_equal_values_tell_nothing() -> None:
    assert importances(trials(9, lambda rate, _: rate), SPACE, seed=0) == []
    assert importances(trials(30, lambda *_: 1.0), SPACE, seed=0) == []
    assert "10 or more" in importance_sentence([], 9)
