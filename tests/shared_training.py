"""Train in two processes that share every batch: `python -m tests.shared_training FOLDER`.

Prints one line `name value` a figure; tests/lib/test_parallel.py says what they must be. The parent loads
torch once and forks every process, as tests/killed_training.py does.
"""

import hashlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from stages.lib.augment import Augmentation
from stages.lib.checkpoint import CheckpointStore
from stages.lib.counters import generator
from stages.lib.loop import TrainingSet, fit
from stages.lib.loop_state import LoopState
from stages.lib.nets import Architecture, Autoencoder, initialise, new_classifier
from stages.lib.network_names import RESIDUAL, WHITENED
from stages.lib.normalise import Normalisation
from stages.lib.parallel import share_step, team_on
from stages.lib.recipe import Phase, Recipe
from stages.lib.tasks import Classification, Held, Reconstruction
from stages.lib.termination import TerminatedError
from tests.prepared_data import bars

CPU = torch.device("cpu")
FACTS = Normalisation((0.3,), (0.25,))
VIEWS = Augmentation(
    rotation_degrees=5, shift=0.05, erase_share=0.5, erase_area=(0.1, 0.3), erase_fill="noise"
)
RECIPE = Recipe((Phase("all", 3, 1.0),), 10, 3e-3, 0.1, 0.2, 0.9, VIEWS, seed=5, clip_norm=1.0)
MIXED = replace(RECIPE, augmentation=replace(VIEWS, mix_share=0.8, mixup_alpha=1.0, cutmix_alpha=1.0))
N = 25  # batches of 9, 8 and 8: shares differ by one
LEAVE_AT = 4


def train(
    recipe: Recipe,
    store: CheckpointStore | None = None,
    leave: signal.Signals | None = None,
    room: int = 100,
    dropout: float = 0.0,
    network: str = RESIDUAL,
) -> LoopState:
    """Train on bars; `leave`: get that signal in the second epoch; `room`: images that fit at once."""
    pixels, labels = bars(N)
    images, targets = torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(labels)
    calls: list[int] = []

    class Watched(Classification):
        def loss(self, network, images, index, randomness, mix=None):  # type: ignore[no-untyped-def]
            calls.append(len(index))
            if leave is not None and len(calls) == LEAVE_AT:
                os.kill(os.getpid(), leave)
            if len(index) > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().loss(network, images, index, randomness, mix)

    task = Watched(targets, torch.tensor([2.0, 1.0, 0.5]), 0.1, Held(images, targets, FACTS))
    shape = Architecture(1, 8, (8, 16), 3, network)
    state = LoopState.start(new_classifier(shape, torch.zeros(3), generator(CPU, "shared"), dropout), recipe)
    return fit(state, task, _data(images), recipe, store=store)


def repaint(recipe: Recipe) -> LoopState:
    """Pretrain on the same bars: the task draws noise and holes for each part."""
    images = torch.from_numpy(bars(N)[0]).permute(0, 3, 1, 2)
    network = Autoencoder(Architecture(1, 8, (8, 16), 3))
    initialise(network, generator(CPU, "repaint"))
    task = Reconstruction(0.5, 0.3, Held(images, torch.zeros(len(images), dtype=torch.long), FACTS))
    return fit(LoopState.start(network, recipe), task, _data(images), recipe)


def _data(images: torch.Tensor) -> TrainingSet:
    return TrainingSet(images, tuple(f"s{at}" for at in range(N)), FACTS)


def save(path: Path, state: LoopState) -> None:
    """Write the weights where the parent looks."""
    torch.save(list(state.averaged.state_dict().values()), path)


def in_two(work: Callable[[int], None], expected: tuple[int, int] = (0, 0)) -> None:
    """Fork two processes that are a team, wait for both, and look how they ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(2):
        child = os.fork()
        if not child:
            team = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_PORT": port}
            os.environ.update({name: str(value) for name, value in team.items()})
            os.environ.update({"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"})
            code = 1
            try:
                work(rank)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    ended = tuple(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert ended == expected, ended


def digest(path: Path) -> str:
    """Hash the numbers."""
    tensors = torch.load(path, weights_only=True)
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in tensors)).hexdigest()


def distance(one: Path, other: Path) -> float:
    """Return the largest difference of any number."""
    pairs = zip(torch.load(one, weights_only=True), torch.load(other, weights_only=True), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


def interrupted(folder: Path, rank: int, network: str = RESIDUAL) -> None:
    """Be asked to end in one process only; both must save and leave at the same step."""
    store = CheckpointStore(folder / "k", "k")
    try:
        train(RECIPE, store, leave=signal.SIGTERM if rank else None, network=network)
    except TerminatedError:
        return
    raise AssertionError("nobody left")


def fallen(folder: Path, rank: int) -> None:
    """Be killed in one process only; the other must not wait for it."""
    train(RECIPE, CheckpointStore(folder / "k", "k"), leave=signal.SIGKILL if rank else None)


def statistics(rank: int) -> None:
    """Hold running statistics of one's own share; all must get their mean, and counters stay as they were."""
    norm = torch.nn.BatchNorm2d(2)
    assert norm.running_mean is not None
    norm.running_mean.fill_(float(rank))
    assert float(share_step(team_on(CPU), norm, torch.tensor(1.0))) == 2.0
    assert norm.running_mean.tolist() == [0.5, 0.5]
    assert int(norm.num_batches_tracked) == 0  # type: ignore[arg-type]


def alone(folder: Path) -> None:
    """Train what two processes shall match."""
    halves = replace(RECIPE, parts=2)
    save(folder / "alone", train(RECIPE))
    save(folder / "alone_parts", train(halves))
    save(folder / "alone_dropout", train(halves, dropout=0.2))
    save(folder / "alone_mixed", train(replace(MIXED, parts=2)))
    save(folder / "alone_repainted", repaint(halves))


def together(folder: Path, rank: int) -> None:
    """Train the same in two processes, without a break."""
    save(folder / f"two{rank}", train(RECIPE))
    save(folder / f"dropout{rank}", train(RECIPE, dropout=0.2))
    save(folder / f"room{rank}", train(RECIPE, room=3 if rank else 100))
    save(folder / f"mixed{rank}", train(MIXED))
    save(folder / f"repainted{rank}", repaint(RECIPE))
    save(folder / f"norm{rank}", train(RECIPE, network=WHITENED))
    statistics(rank)


def leaving(folder: Path, rank: int) -> None:
    """Be interrupted, three times over."""
    interrupted(folder / "store", rank)
    interrupted(folder / "other", rank)
    interrupted(folder / "norm", rank, WHITENED)


def going_on(folder: Path, rank: int) -> None:
    """Take up what was interrupted, or lost a process."""
    for name, left, network in (
        ("again", "store", RESIDUAL),
        ("risen", "fallen", RESIDUAL),
        ("norm_again", "norm", WHITENED),
    ):
        store = CheckpointStore(folder / left / "k", "k")
        save(folder / f"{name}{rank}", train(RECIPE, store, network=network))


def main(folder: Path) -> None:
    """Train alone, together, together with a break, and on from there alone."""
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    alone(folder)
    in_two(lambda rank: together(folder, rank))
    in_two(lambda rank: leaving(folder, rank))
    in_two(lambda rank: fallen(folder / "fallen", rank), expected=(1, -signal.SIGKILL))
    in_two(lambda rank: going_on(folder, rank))
    save(folder / "on_alone", train(RECIPE, CheckpointStore(folder / "other" / "k", "k")))
    names = ["alone_parts", "alone_dropout", "alone_mixed", "alone_repainted"]
    shared = ("two", "again", "room", "dropout", "risen", "mixed", "repainted", "norm", "norm_again")
    names += [f"{name}{rank}" for name in shared for rank in range(2)]
    told: dict[str, object] = {name: digest(folder / name) for name in names}
    told["distance_alone"] = distance(folder / "alone", folder / "two0")
    told["distance_on_alone"] = distance(folder / "on_alone", folder / "two0")
    told["distance_room"] = distance(folder / "room0", folder / "two0")
    sys.stdout.write("".join(f"{name} {value}\n" for name, value in told.items()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
