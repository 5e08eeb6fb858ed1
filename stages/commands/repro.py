"""Run the chain as a person wants it: check, `dvc repro`, send the records, show the results."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from stages.commands.check import check
from stages.commands.release import release_after_run
from stages.commands.summary import summary
from stages.commands.sync import sync
from stages.lib.addresses import without_password
from stages.lib.clone import clone_folder
from stages.lib.config import read_params
from stages.lib.errors import MachineError
from stages.lib.journal import tracking_is_on
from stages.lib.lock import only_one
from stages.lib.mirror import configure
from stages.lib.permissions import refuse_closed_folders
from stages.lib.progress import say
from stages.lib.state import project_root

TRAIN = Path("data/train")


def repro(dvc_arguments: Sequence[str] = ()) -> int:
    """Return DVC's exit code; results are shown after a whole chain that ended well, not after a part.

    BusyError names the process that runs the chain in this clone already.
    """
    refuse_closed_folders()
    check()
    with only_one(clone_folder() / "locks" / "repro.lock", "this clone"):
        return _repro(dvc_arguments)


def _repro(dvc_arguments: Sequence[str]) -> int:
    remove_stale_seeds(TRAIN, read_params()["train"]["seeds"])
    dvc = shutil.which("dvc")
    if dvc is None:
        raise MachineError("dvc is not on PATH: run `make repro`, or `. .venv/bin/activate` first")
    code = subprocess.run([dvc, "repro", *dvc_arguments], check=False).returncode
    remaining = sync(trust_sender=True) if tracking_is_on() else 0
    if remaining:
        say(f"the tracker has not taken {remaining} record(s) yet: they are kept; `assay sync` sends them")
    if code == 0 and not dvc_arguments:
        summary(Path("data/evaluate"))
        tracker = configure(project_root())
        opened = f"mlflow ui --backend-store-uri {tracker}" if tracker.startswith("sqlite:") else tracker
        say(f"runs     {without_password(opened)}")
        release_after_run()
    return code


def remove_stale_seeds(train: Path, seeds: Sequence[int]) -> None:
    """Remove networks of seeds that params no longer name, so that `data/train` holds what the chain uses.

    DVC forgets a matrix item that left the list, but leaves its files in place, and later stages depend on
    the folder as a whole. Its cache keeps the contents.
    """
    wanted = {f"seed{seed}" for seed in seeds}
    for folder in sorted(train.glob("seed*")):
        if folder.name not in wanted:
            say(f"{folder} is not in train.seeds: removed from the workspace")
            shutil.rmtree(folder)
