"""Train, and be killed for it: `python -m tests.killed_training FOLDER KIND KILLS SEED [STAGE]`.

KIND is when: at random `moments`, inside `writes`, at `points` of the code, or once the newest is `corrupt`.
The parent loads torch once and forks every trainer, which is ten times cheaper than a fresh interpreter each.
Prints the SHA-256 of a model trained in one go (`whole`), of one whose training was killed by SIGKILL and
started again until it ended (`killed`), how often it was (`kills`), and how many of these left a checkpoint
(`resumed`).
"""

import hashlib
import os
import pkgutil
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stages import distill, pretrain, train
from stages.lib.history import write_history
from tests.prepared_data import bars_dataset
from tests.training_fixture import (
    WIDTHS,
    context,
    distill_params,
    even_plan,
    pretrain_params,
    train_params,
    write_encoder,
    write_members,
)

if TYPE_CHECKING:
    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.loop_state import LoopState
    from stages.lib.weights import Card

EPOCHS = 12


def train_into(folder: Path) -> None:
    """Do what the stage's `run` does after reading: fit with checkpoints, publish, retire."""
    from stages.lib.checkpoint import CheckpointStore
    from stages.lib.weights import save_weights

    place = context(folder)
    store = CheckpointStore(place.checkpoints, place.key)
    state, card = FITS[STAGE](folder.parent, store)
    save_weights(folder / "model.safetensors", state.averaged.state_dict(), card)
    write_history(folder / "history.csv", state.history)
    store.retire()


def _train(folder: Path, store: "CheckpointStore") -> "tuple[LoopState, Card]":
    encoder = folder / "encoder.safetensors"
    params = train_params(epochs=EPOCHS)
    state, card, _ = train.fit_classifier(
        bars_dataset(90), even_plan(3), encoder, params, seed=0, store=store
    )
    return state, card


def _pretrain(folder: Path, store: "CheckpointStore") -> "tuple[LoopState, Card]":
    from stages.lib.normalise import fit_normalisation
    from stages.lib.training_data import architecture_for
    from stages.lib.weights import Card

    dataset, params = bars_dataset(90), pretrain_params(epochs=EPOCHS)
    facts = fit_normalisation(dataset.pixels[dataset.part("train")])
    shape = architecture_for(dataset, WIDTHS)
    recipe = params.one_phase("reconstruct", None)
    state = pretrain.fit_autoencoder(dataset, facts, shape, params, recipe, store)
    return state, Card("encoder", shape, dataset.classes, facts, {})


def _distill(folder: Path, store: "CheckpointStore") -> "tuple[LoopState, Card]":
    from stages.lib.ensemble import load_members

    hints = {"hint_weight": 1.0} if STAGE == "hints" else {}
    dataset, params = bars_dataset(90), distill_params(epochs=EPOCHS, **hints)
    members = load_members(folder / "members", (0, 1), dataset)
    taught = dataset.part("train")
    recipe = params.one_phase("distill", None)
    state = distill.fit_student(dataset, taught, members, params, recipe, store)
    return state, distill.card_of(dataset, params, members)


FITS: "dict[str, Callable[[Path, CheckpointStore], tuple[LoopState, Card]]]" = {
    "train": _train,
    "pretrain": _pretrain,
    "distill": _distill,
    "hints": _distill,
}
STAGE = sys.argv[5] if len(sys.argv) > 5 else "train"


def fork(work: Callable[[], None]) -> int:
    """Run `work` in a child; return its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def ended_well(child: int) -> bool:
    """Wait for the child; False when it was killed, and an error when it failed in any other way."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def kill_at_a_moment(folder: Path, rng: random.Random, usual: float) -> bool:
    """Start the training and kill it in one of its next epochs, polled on progress, or let it end."""
    wanted = last_epoch(folder) + rng.randint(0, 3)
    child = fork(lambda: train_into(folder))
    while last_epoch(folder) < wanted:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 2 * usual / EPOCHS))
    os.kill(child, signal.SIGKILL)
    return not ended_well(child)


def last_epoch(folder: Path) -> int:
    """Return the epochs behind the newest generation."""
    return max((int(path.name.removeprefix("epoch-")) for path in generations(folder)), default=0)


def generations(folder: Path) -> list[Path]:
    """Return the whole generations that the training has saved."""
    try:
        return sorted((folder / "checkpoints" / "k").glob("epoch-*"))
    except FileNotFoundError:  # the training ended between two looks, and its folder with it
        return []


def kill_at_a_write(folder: Path, rng: random.Random, usual: float, furthest: int = 12) -> bool:
    """Start the training and let it kill itself at one of its first fsyncs or renames.

    One generation is three synced files, a rename and a synced folder, so 12 calls reach into the third.
    """
    del usual
    number = rng.randint(1, furthest)

    def work() -> None:
        calls = 0
        fsync, rename = os.fsync, Path.rename

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = lambda fd: (count(), fsync(fd))[1]  # type: ignore[assignment]
        Path.rename = lambda self, target: (count(), rename(self, target))[1]  # type: ignore[method-assign]
        train_into(folder)

    return not ended_well(fork(work))


POINTS: tuple[tuple[str, str, int], ...] = (
    ("stages.lib.tasks.Classification", "validate", 6),
    ("stages.lib.loop", "set_rates_at", 20),
    ("stages.lib.loop_state.LoopState", "facts", 6),
    ("stages.lib.weights", "save_weights", 1),
    ("stages.lib.checkpoint.CheckpointStore", "retire", 1),
)
"""Whose n-th call is the last thing that a training does, and the largest n."""


def kill_at_a_point(folder: Path, rng: random.Random, usual: float) -> bool:
    """Start the training and let it kill itself before one of the calls of POINTS."""
    del usual
    owner, name, most = rng.choice(POINTS)
    number = rng.randint(1, most)

    def work() -> None:
        place = pkgutil.resolve_name(owner)
        whole, calls = getattr(place, name), 0

        def last(*arguments: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(*arguments, **named)

        setattr(place, name, last)
        train_into(folder)

    return not ended_well(fork(work))


def corrupt_newest(folder: Path, rng: random.Random, usual: float) -> bool:
    """Stop after some epochs, then flip a bit of the newest generation's tensors."""
    while len(generations(folder)) < 2:
        assert kill_at_a_write(folder, rng, usual)
    newest = generations(folder)[-1]
    path = newest / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 4
    path.write_bytes(data)
    return True


def digest(folder: Path) -> str:
    """Return one hash of what was published."""
    files = [folder / name for name in ("model.safetensors", "history.csv")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def main(folder: Path, kind: str, kills: int, seed: int) -> None:
    """Train once whole, once killed."""
    import torch

    import stages.lib.loop  # noqa: F401 (loaded here so that every child has it)

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])  # loads a second's worth of torch, once for all
    write_encoder(folder / "encoder.safetensors", bars_dataset(90))
    if STAGE in ("distill", "hints"):
        write_members(folder / "members", bars_dataset(90))
    for name in ("whole", "killed"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    started = time.monotonic()
    assert ended_well(fork(lambda: train_into(folder / "whole")))
    usual, truth = time.monotonic() - started, digest(folder / "whole")
    rng, done, resumed = random.Random(seed), 0, 0
    while done < kills:
        done += KINDS[kind](folder / "killed", rng, usual)
        resumed += bool(generations(folder / "killed"))
        if (
            folder / "killed" / "history.csv"
        ).exists():  # it ended before the kill came: look, and train anew
            assert digest(folder / "killed") == truth
            shutil.rmtree(folder / "killed")
            (folder / "killed").mkdir()
    assert ended_well(fork(lambda: train_into(folder / "killed")))
    told = {"whole": truth, "killed": digest(folder / "killed"), "kills": done, "resumed": resumed}
    sys.stdout.write("".join(f"{name} {value}\n" for name, value in told.items()))


KINDS: dict[str, Callable[[Path, random.Random, float], bool]] = {
    "moments": kill_at_a_moment,
    "writes": kill_at_a_write,
    "points": kill_at_a_point,
    "corrupt": corrupt_newest,
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
