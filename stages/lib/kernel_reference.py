"""Support vectors with a Gaussian kernel as a reference (Cortes & Vapnik 1995): the best before nets.

Of each pair of classes one machine, by libsvm. Time grows with the square of the train rows, so they are
capped; with the kernel computed beforehand (one product of matrices) the number of features hardly matters.
Votes become probabilities by one temperature, which val teaches.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from stages.lib.calibration import fit_temperature, warm
from stages.lib.config import Section
from stages.lib.dataset import Dataset
from stages.lib.progress import track
from stages.lib.reference import Reference, at_most, score
from stages.lib.threads import blas_threads_for

if TYPE_CHECKING:
    from sklearn.svm import SVC

MOST_CLASSES = 200
"""Pairs grow with the square of the classes: 200 have 19,900 machines; 10,000 would have 50 million."""

CHUNK = 2048
"""Images whose kernel rows are held at once: 80 MB beside 5,000 train rows."""


class KernelParams(Section):
    """What val chooses from, and from how many train images the machines learn."""

    svc_c: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    svc_max_train: int = Field(ge=2, le=20_000)


def fit_svc(
    spaces: Mapping[str, np.ndarray], dataset: Dataset, rows: np.ndarray, params: KernelParams, seed: int
) -> Reference | str:
    """Choose space and C on val, and predict the samples `rows` (M,); or say why there is none.

    Best means the highest accuracy on val, then the lowest log loss, then the smaller C.
    """
    labels, n_classes = dataset.labels, len(dataset.classes)
    train, val = dataset.part("train"), dataset.part("val")
    n_known = len(np.unique(labels[train]))
    if not 2 <= n_known <= MOST_CLASSES:
        return f"train has {n_known} classes: a machine for each pair is made of 2 to {MOST_CLASSES}"
    base = at_most(train, labels[train], params.svc_max_train, seed)
    best: tuple[tuple[float, float], str, SVC] | None = None
    for space, vectors in track(list(spaces.items()), "support vectors"):
        known, asked = (gaussian(vectors, base, part) for part in (base, val))
        for c in sorted(params.svc_c):
            machine = _learned(known, labels[base], c)
            scored = score(decisions_as_probs(machine, asked, n_classes), labels[val])
            if best is None or scored > best[0]:
                best = scored, space, machine
    assert best is not None
    scored, space, machine = best
    parts = [
        decisions_as_probs(machine, gaussian(spaces[space], base, rows[at : at + CHUNK]), n_classes)
        for at in range(0, len(rows), CHUNK)
    ]
    probs = np.concatenate(parts)
    temperature = fit_temperature(probs[np.isin(rows, val)], labels[rows[np.isin(rows, val)]])
    told = {"c": float(machine.C), "space": space, "val_top1_accuracy": scored[0]}
    return Reference(
        warm(probs, temperature), told | {"n_train": len(base), "capped": len(base) < len(train)}
    )


def gaussian(vectors: np.ndarray, base: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return exp(-|x - y|² / (D v)) (M, N) of `rows` and `base`, v being the variance of all numbers of base.

    That is scikit-learn's gamma "scale": a width by which the mean distance is neither near nor far.
    """
    known, asked = (np.asarray(vectors[part], np.float64) for part in (base, rows))
    centre = known.mean(axis=0)
    known, asked = known - centre, asked - centre
    spread = known.shape[1] * float(np.asarray(vectors[base], np.float64).var()) or 1.0
    with blas_threads_for(known.size):
        far = (asked**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * asked @ known.T
    return np.asarray(np.exp(-np.maximum(far, 0.0) / spread))


def _learned(kernel: np.ndarray, labels: np.ndarray, c: float) -> "SVC":
    from sklearn.svm import SVC

    return SVC(C=c, kernel="precomputed").fit(kernel, labels)


def decisions_as_probs(machine: "SVC", kernel: np.ndarray, n_classes: int) -> np.ndarray:
    """Return softmax of the pairs' votes (M, K), ties broken by margins; a class that train lacks gets 0."""
    found = machine.decision_function(kernel)
    decided = np.stack([-found, found], axis=1) if found.ndim == 1 else found
    powers = np.exp(decided - decided.max(axis=1, keepdims=True))
    probs = np.zeros((len(kernel), n_classes))
    probs[:, machine.classes_] = powers / powers.sum(axis=1, keepdims=True)
    return probs
