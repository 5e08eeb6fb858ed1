"""Multinomial logistic regression on standardised features, learned from distributions over classes."""

import warnings

import numpy as np

from stages.lib.annotators import Doubles
from stages.lib.pooling import Floats
from stages.lib.threads import blas_threads_for

MAX_ITERATIONS = 1000
"""L-BFGS needs 30 to 60 on digits; a fold that needs more than this is counted in the metrics."""

FLAT_FEATURE = 1e-4
"""A feature that varies less than this (samples have length 1) is constant but for rounding: unscaled."""


def predict_fold(features: Floats, targets: Doubles, unseen: Floats, l2: float) -> tuple[Floats, bool]:
    """Fit on (n, d) standardised by its own mean and spread; predict (m, d) -> (m, K), whether it converged.

    targets (n, K): a sample counts for each class by its share. A class without any share gets probability 0.
    l2 is the penalty relative to the mean loss, so that it means the same for any n (C = 1 / (l2 * n)).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rows, labels = np.nonzero(targets)
    weights = targets[rows, labels]
    mean, spread = features.mean(0), features.std(0)
    spread[spread < FLAT_FEATURE] = 1
    model = LogisticRegression(C=1 / (l2 * weights.sum()), max_iter=MAX_ITERATIONS)
    with blas_threads_for(features.size), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # counted by the caller instead
        model.fit(((features - mean) / spread)[rows], labels, sample_weight=weights)
    probabilities = np.zeros((len(unseen), targets.shape[1]), np.float32)
    probabilities[:, model.classes_] = model.predict_proba((unseen - mean) / spread)
    return probabilities, bool(model.n_iter_.max() < MAX_ITERATIONS)
