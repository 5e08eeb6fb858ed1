from pathlib import Path

import numpy as np
import pytest

from stages.lib.artifacts import write_json
from stages.lib.class_plan import ClassPlan, read_plan
from stages.lib.errors import InputError


def write(folder: Path, strength: float = 1.0, **weights: tuple[float, float]) -> Path:
    columns = ("n", "augmentation_strength", "sampling_weight", "loss_weight")
    entries = {name: dict(zip(columns, (3, strength, *w), strict=True)) for name, w in weights.items()}
    write_json(folder / "plan.json", {"strategy": "x", "classes": entries})
    return folder


def test_weights_come_in_the_order_of_the_classes(tmp_path: Path) -> None:
    plan = read_plan(write(tmp_path, b=(1.0, 2.0), a=(3.0, 4.0)), ["a", "b"])
    assert plan.sampling.tolist() == [3.0, 1.0]
    assert plan.loss.tolist() == [4.0, 2.0]
    assert plan.resamples
    assert plan.strength is None
    stronger = read_plan(write(tmp_path, strength=1.5, b=(1.0, 2.0), a=(3.0, 4.0)), ["a", "b"]).strength
    assert stronger is not None
    assert stronger.tolist() == [1.5, 1.5]


def test_the_prior_is_what_training_will_see() -> None:
    labels = np.array([0, 0, 0, 1])
    assert ClassPlan(np.ones(2), np.ones(2)).prior(labels).tolist() == [0.75, 0.25]
    assert ClassPlan(np.array([1.0, 3.0]), np.ones(2)).prior(labels).tolist() == [0.5, 0.5]
    assert ClassPlan(np.ones(3), np.ones(3)).prior(labels)[2] > 0


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_weight_that_is_not_positive_is_refused(tmp_path: Path, weight: float) -> None:
    with pytest.raises(InputError, match="positive"):
        read_plan(write(tmp_path, a=(1.0, weight)), ["a"])


def test_a_class_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights for class 'dog'"):
        read_plan(write(tmp_path, cat=(1.0, 1.0)), ["cat", "dog"])
