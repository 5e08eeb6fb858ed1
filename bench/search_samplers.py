"""Does TPE find more than random search, at equal cost? `python -m bench.search_samplers [STUDIES [TRIALS]]`.

On what the default chain left in data/ (digits): studies of three epochs a trial, which leaves much to find,
with other seeds each, over four keys. Prints the best val loss so far after a number of trials, mean and
standard error over studies, and the paired difference at the end. Ten minutes of one core by default.
"""

import math
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from stages.commands.tune_setup import Setup
from stages.commands.tune_work import work
from stages.lib.config import read_params
from stages.lib.search_space import Drawn
from stages.lib.study import Search
from stages.lib.study_storage import Storage, storage_url
from stages.lib.tune_data import load_material
from stages.lib.tune_params import Params

EPOCHS = 3
SPACE: dict[str, Any] = {
    "train.learning_rate": {"low": 1.0e-4, "high": 1.0e-1, "log": True},
    "train.weight_decay": {"low": 1.0e-3, "high": 0.5, "log": True},
    "train.dropout": {"low": 0.0, "high": 0.5},
    "train.augment.rotation_degrees": {"low": 0.0, "high": 30.0},
}
SHOWN = (5, 10, 15, 20, 25, 30, 40)


def best_so_far(setup: Setup, trials: int) -> np.ndarray:
    """Return the lowest value (T,) after each trial of a new study."""
    with Search.open(Storage.open(storage_url("")), setup.plan) as search:
        for _ in work(setup, search, trials):
            continue
        values = [trial.value if trial.value is not None else math.inf for trial in search.trials()]
    return np.asarray(np.minimum.accumulate(values))


def main(studies: int, trials: int) -> None:
    """Print the table."""
    os.environ["ASSAY_TRACKING"] = "off"
    section = read_params()["train"]
    material = load_material(Path("data"), votes=False)
    space = {key: Drawn(**drawn) for key, drawn in SPACE.items()}
    fixed = {"seeds": 1, "pruner": "none", "metric": "val_loss", "storage": "", "workers": 1}
    curves: dict[str, list[np.ndarray]] = {"random": [], "tpe": []}
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ASSAY_STATE"] = folder
        for seed in range(studies):
            for sampler, found in curves.items():
                how = {"sampler": sampler, "trials": trials, "seed": 1000 * (seed + 1), "epochs": EPOCHS}
                params = Params.model_validate(fixed | how | {"space": space})
                found.append(best_so_far(Setup(params, section, material, ""), trials))
    print(f"{studies} studies of {trials} trials of {EPOCHS} epochs each")
    print(f"{'trials':>8} {'random':>18} {'tpe':>18}")
    stacked = {sampler: np.stack(found) for sampler, found in curves.items()}
    for at in (count for count in SHOWN if count <= trials):
        cells = (f"{_shown(values[:, at - 1]):>18}" for values in stacked.values())
        print(f"{at:>8} {' '.join(cells)}")
    gap = stacked["random"][:, -1] - stacked["tpe"][:, -1]
    print(f"random less tpe at the end: {_shown(gap)}; {time.process_time() - started:.0f} CPU s")


def _shown(values: np.ndarray) -> str:
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{values.mean():.4f} ± {error:.4f}"


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [6, 30][len(given) :]))
