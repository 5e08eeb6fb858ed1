"""Logistic regression as a reference: what a straight line already does needs no network."""

from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from stages.lib.config import Section
from stages.lib.dataset import Dataset
from stages.lib.errors import InputError
from stages.lib.progress import track
from stages.lib.reference import Reference, score
from stages.lib.threads import blas_threads_for

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression


class LinearParams(Section):
    """Inverse strengths of regularisation to choose from, and a bound on the solver's iterations."""

    linear_c: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    linear_max_iter: int = Field(ge=1)


def standardised(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Return features (N, D) of mean 0 and variance 1 over the rows `train`; columns constant there are 0."""
    mean, scale = features[train].mean(axis=0), features[train].std(axis=0)
    varies = scale > 0
    return np.asarray(np.where(varies, (features - mean) / np.where(varies, scale, 1.0), 0.0))


def fit_linear(
    features: np.ndarray, dataset: Dataset, rows: np.ndarray, params: LinearParams, label: str
) -> Reference:
    """Fit logistic regressions on train, keep the one that is best on val, and predict the samples `rows`.

    Best means the highest accuracy on val, then the lowest log loss on val, then the stronger regularisation.
    """
    train, val = dataset.part("train"), dataset.part("val")
    scaled = standardised(features.astype(np.float64), train)
    model = _logistic_regression(params)
    best: tuple[tuple[float, float], Reference] | None = None
    for c in track(sorted(params.linear_c), f"logistic regression on {label}"):
        _fit(model.set_params(C=c), scaled[train], dataset.labels[train], params)
        scored = score(all_classes(model, scaled[val], len(dataset.classes)), dataset.labels[val])
        if best is None or scored > best[0]:
            probs = all_classes(model, scaled[rows], len(dataset.classes))
            told = {"c": c, "val_top1_accuracy": scored[0], "n_iter": int(model.n_iter_.max())}
            best = scored, Reference(probs, told)
    assert best is not None
    return best[1]


def _logistic_regression(params: LinearParams) -> "LogisticRegression":
    from sklearn.linear_model import LogisticRegression

    # Each fit starts from the one before it: from strong to weak regularisation the way is short.
    return LogisticRegression(max_iter=params.linear_max_iter, warm_start=True)


def _fit(model: "LogisticRegression", features: np.ndarray, labels: np.ndarray, params: LinearParams) -> None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), blas_threads_for(features.size):
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(features, labels)
        except ConvergenceWarning as warning:
            raise InputError(
                f"baseline.linear_max_iter: {params.linear_max_iter} iterations do not suffice at C = "
                f"{model.C}; raise it, or take the largest values from baseline.linear_c"
            ) from warning


def all_classes(model: "LogisticRegression", features: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the probabilities (M, K); a class that train lacks gets 0."""
    probs = np.zeros((len(features), n_classes))
    probs[:, model.classes_] = model.predict_proba(features)
    return probs
