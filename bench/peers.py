"""The peers of bench/peer_validation.py, run by an interpreter of their own: nothing of this project in here.

    PEER_PYTHON peers.py cleanvision IMAGES | labels FOLDER | datalab FOLDER

As their own documentation does it. cleanvision: `Imagelab(data_path).find_issues()`, all default issues.
labels: `cross_val_predict` (5 folds) of scikit-learn's `LogisticRegression()` on features, then cleanlab's
`find_label_issues`. datalab: `Datalab.find_issues(features, pred_probs)`, all default issues.
FOLDER holds features.npy (N, D) and labels.npy (N,) int64; `labels` leaves pred_probs.npy there.
"""

import os
import sys
from pathlib import Path

import numpy as np

FOLDS = 5


def cleanvision(images: Path, jobs: int) -> str:
    """Look for all default issues of a folder of image files."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(images))
    lab.find_issues(n_jobs=jobs)
    rows = zip(lab.issue_summary["issue_type"], lab.issue_summary["num_images"], strict=True)
    return ", ".join(f"{name} {n}" for name, n in rows)


def labels(folder: Path, jobs: int) -> str:
    """Predict out of sample and find label issues."""
    from cleanlab.filter import find_label_issues
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    features, given = np.load(folder / "features.npy"), np.load(folder / "labels.npy")
    probs = cross_val_predict(LogisticRegression(), features, given, cv=FOLDS, method="predict_proba")
    np.save(folder / "pred_probs.npy", probs)
    issues = find_label_issues(given, probs, n_jobs=jobs)
    right = (probs.argmax(1) == given).mean()
    return f"{int(issues.sum())} label issues, agreement {right:.4f}"


def datalab(folder: Path, _jobs: int) -> str:
    """Look for all default issues that features and pred_probs allow."""
    from cleanlab import Datalab

    features, given = np.load(folder / "features.npy"), np.load(folder / "labels.npy")
    lab = Datalab(data={"label": given}, label_name="label", verbosity=0)
    lab.find_issues(features=features, pred_probs=np.load(folder / "pred_probs.npy"))
    rows = zip(lab.issue_summary["issue_type"], lab.issue_summary["num_issues"], strict=True)
    return ", ".join(f"{name} {n}" for name, n in rows)


if __name__ == "__main__":
    what = {"cleanvision": cleanvision, "labels": labels, "datalab": datalab}[sys.argv[1]]
    print("found:", what(Path(sys.argv[2]), int(os.environ["OMP_NUM_THREADS"])))
