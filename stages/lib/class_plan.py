"""The class-balance plan as training reads it: how to draw, weigh and augment each class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.lib.artifacts import read_json
from stages.lib.errors import InputError

COLUMNS = ("sampling_weight", "loss_weight", "augmentation_strength")

LEAST_COUNT = 0.5
"""A class that train lacks counts as half a sample, so that its log prior is finite."""


@dataclass(frozen=True)
class ClassPlan:
    """Weights per class (K,) float64, as classes.json orders them: sampling scales draws, loss losses.

    strength scales the magnitudes of augmentation; None: all classes alike.
    """

    sampling: np.ndarray
    loss: np.ndarray
    strength: np.ndarray | None = None

    @property
    def resamples(self) -> bool:
        """Whether some class is drawn more often than another."""
        return bool((self.sampling != self.sampling[0]).any())

    def prior(self, labels: np.ndarray) -> np.ndarray:
        """Return the class shares (K,) that training with this plan sees, for labels (N,) int64."""
        counts = np.maximum(np.bincount(labels, minlength=len(self.loss)), LEAST_COUNT)
        weighted = counts * self.sampling * self.loss
        return np.asarray(weighted / weighted.sum())


def read_plan(folder: Path, classes: Sequence[str]) -> ClassPlan:
    """Read plan.json; InputError when it lacks a class or has a weight that is not a positive number."""
    path = folder / "plan.json"
    entries = read_json(path)["classes"]
    missing = sorted(set(classes) - entries.keys())
    if missing:
        raise InputError(f"{path}: no weights for class {missing[0]!r}; run `dvc repro`")
    weights = np.array([[entries[name][column] for column in COLUMNS] for name in classes], float)
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise InputError(f"{path}: {', '.join(COLUMNS)} must be positive numbers")
    sampling, loss, strength = weights.T
    return ClassPlan(sampling, loss, strength if (strength != 1).any() else None)
