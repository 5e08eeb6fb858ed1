"""Search the keys of `train` that tune.space names: trials on train and val, one winner, written as a patch.

A trial is the stage `train` with other values (`tune_trial.py`); which trial comes next is decided in a
storage that workers share (`lib/study.py`), so that a search can be killed, gone on with, and joined from
other machines. Nothing is written to any stage's folder, and no trial sees a test row.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from stages.commands.sync import sync
from stages.commands.tune_files import Files, write_files
from stages.commands.tune_setup import Setup, load_setup
from stages.commands.tune_work import work
from stages.lib.artifacts import write_text
from stages.lib.config import PARAMS_FILE
from stages.lib.errors import MachineError
from stages.lib.journal import Journal, start_sender, tracking_is_on
from stages.lib.lock import die_with_parent
from stages.lib.progress import say, track
from stages.lib.study import Search, index_of
from stages.lib.study_storage import Storage, storage_url
from stages.lib.threads import pin_threads
from stages.lib.tune_words import NOT_SHOWN, score, setting
from stages.lib.yaml_edit import with_values

DATA = Path("data")
POLL_SECONDS = 0.5
LOG_LINES = 15


def tune(trials: int, workers: int, study: str, apply: bool, *, one_of_many: bool = False) -> None:
    """Finish `trials` trials in all (0: as many as tune.trials says), and say what they found.

    workers: processes on this machine (0: tune.workers). study: the study's name, "" for that of its inputs.
    apply: write the winner into params.yaml. one_of_many: be a worker, and say nothing at the end.
    """
    pin_threads()
    setup = load_setup(PARAMS_FILE, DATA, study)
    wanted, processes = trials or setup.params.trials, workers or setup.params.workers
    storage = Storage.open(storage_url(setup.params.storage))
    with Search.open(storage, setup.plan) as search:
        if one_of_many:
            for _ in work(setup, search, wanted):
                continue
            return
        journal = _journal(setup)
        try:
            _search(setup, search, wanted, processes)
            files = write_files(setup, search)
        except BaseException as error:
            journal.fail(f"{type(error).__name__}: {error}")
            raise
        journal.finish(files.figures, files.paths)
    files.show()
    if apply:
        _apply(files)
    if tracking_is_on():
        sync(trust_sender=True)


def _journal(setup: Setup) -> Journal:
    """Open the study's own record, in which those of its trials are nested."""
    journal = Journal.start(setup.parent.stage, setup.inputs, title=setup.parent.name)
    if tracking_is_on():
        start_sender()
    return journal


def _search(setup: Setup, search: Search, wanted: int, processes: int) -> None:
    """Let this process, or several of this machine, work; show how far it is."""
    known = {index_of(trial) for trial in search.trials()}
    missing = sum(index not in known for index in range(wanted))
    say(f"study {setup.name}: {len(known)} trials finished, {missing} of {wanted} to go")
    if not missing:
        return
    alone = min(processes, missing) == 1
    working = (
        nullcontext(work(setup, search, wanted))
        if alone
        else _supervised(setup, wanted, min(processes, missing))
    )
    # The workers are started before the progress bar is, which draws itself from a thread of its own.
    with working as steps:
        for _ in track(_finished(setup, search, known, steps), "trials", total=wanted):
            continue
    if running := search.running():
        say(f"{running} trial(s) are being trained elsewhere: run it again when they have ended")


def _finished(setup: Setup, search: Search, known: set[int], steps: Iterator[int]) -> Iterator[int]:
    """Yield each finished trial once, also those of other workers, and say what came of it."""
    yield from sorted(known)
    for _ in steps:
        for trial in search.trials():
            index = index_of(trial)
            if index in known:
                continue
            known.add(index)
            value = trial.user_attrs["reason"] or f"{score(float(trial.value or 0), setup.params.metric)}"
            say(f"trial {index}: {value.partition(':')[0]} ({setting(trial.user_attrs['values'])})")
            yield index


@contextmanager
def _supervised(setup: Setup, wanted: int, processes: int) -> Iterator[Iterator[int]]:
    """Start workers, give an iterator that lasts while they work, and say what a worker said that failed."""
    command = [sys.executable, "-m", "stages.commands.main", "tune", "--one-of-many"]
    command += ["--study", setup.name, "--trials", str(wanted)]
    setup.folder.mkdir(parents=True, exist_ok=True)
    logs = [setup.folder / f"worker-{number}.log" for number in range(processes)]
    children: list[subprocess.Popen[bytes]] = []
    try:
        for log in logs:
            with log.open("wb") as stream:
                children.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=stream,
                        stderr=stream,
                        preexec_fn=die_with_parent,  # noqa: PLW1509 (nothing is drawn yet: no other thread)
                    )
                )
        yield _waiting(children)
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
    _blame(children, logs)


def _waiting(children: Sequence["subprocess.Popen[bytes]"]) -> Iterator[int]:
    while any(child.poll() is None for child in children):
        time.sleep(POLL_SECONDS)
        yield -1


def _blame(children: Sequence["subprocess.Popen[bytes]"], logs: Sequence[Path]) -> None:
    failed = [(child, log) for child, log in zip(children, logs, strict=True) if child.returncode]
    if failed:
        child, log = failed[0]
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        raise MachineError(
            f"{len(failed)} of {len(children)} workers failed (exit code {child.returncode}); {log} ends:\n"
            + "\n".join(f"  {line}" for line in last)
        )


def _apply(files: Files) -> None:
    if not files.patch:
        say(f"{PARAMS_FILE} stays as it is: nothing beat it")
        return
    text = PARAMS_FILE.read_text(encoding="utf-8")
    write_text(PARAMS_FILE, with_values(text, files.patch, str(PARAMS_FILE)))
    say(f"{PARAMS_FILE}: {setting(files.patch)}; `make repro` trains with it")
    if not files.shown:
        say(NOT_SHOWN)
