"""A search that can be interrupted and shared: who trains which trial is decided by one worker at a time.

A trial has an index, 0 … trials-1, beside Optuna's own number: a trial whose worker died is trained again
under its index, so that the finished trials are as many as were asked for and the same as without the death.
A worker of this machine is alive as long as it holds the lock on its file; one elsewhere as long as its heart
beats in the storage.
"""

import fcntl
import os
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from optuna import Trial, create_study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.storages import fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from stages.lib.errors import AssayError, InputError
from stages.lib.study_samplers import sampler_of
from stages.lib.study_storage import GRACE_SECONDS, HEARTBEAT_SECONDS, Storage, folder, lost_storage

INDEX, WORKER, DIGEST = "index", "worker", "digest"

DONE = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Plan:
    """What a study is: the digest of all that its results hang on, and how its trials are drawn and stopped.

    defaults: what stands in params.yaml for the searched keys, as the storage keeps it.
    """

    name: str
    digest: str
    direction: Literal["maximize", "minimize"]
    distributions: Mapping[str, BaseDistribution]
    defaults: Mapping[str, Any]
    sampler: str
    seed: int
    pruner: BasePruner


class ClaimLostError(AssayError):
    """This worker was taken for dead by one of another machine: whoever claims the trial anew trains it."""


@dataclass(frozen=True)
class Claim:
    """A trial that this worker alone trains."""

    index: int
    trial: Trial


class Search:
    """An open study, as one worker sees it."""

    def __init__(self, storage: Storage, plan: Plan, study: Study, worker: str) -> None:
        self.storage = storage
        self.plan = plan
        self.study = study
        self._worker = worker

    @classmethod
    @contextmanager
    def open(cls, storage: Storage, plan: Plan) -> "Iterator[Search]":
        """Find or make the study, and be one of its workers; InputError where its name has another digest."""
        with lost_storage(storage.url), storage.turn():
            study = create_study(
                storage=storage.optuna,
                study_name=plan.name,
                direction=plan.direction,
                pruner=plan.pruner,
                load_if_exists=True,
            )
            found = study.user_attrs.get(DIGEST)
            if found is None:
                study.set_user_attr(DIGEST, plan.digest)
        if found not in (None, plan.digest):
            raise InputError(
                f"the study {plan.name} was made of another space, other params, data or code: results do "
                "not mix; leave --study out, or give another name"
            )
        with _alive() as worker:
            yield cls(storage, plan, study, worker)

    def trials(self) -> list[FrozenTrial]:
        """Return the finished trials, by index."""
        with lost_storage(self.storage.url):
            found = self.study.get_trials(deepcopy=False, states=DONE)
        return sorted(found, key=index_of)

    def running(self) -> int:
        """Return how many trials are being trained, as far as the storage knows."""
        with lost_storage(self.storage.url):
            return len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def claim(self, wanted: int) -> Claim | None:
        """Take the first index below `wanted` that nobody has; None where there is none."""
        with lost_storage(self.storage.url), self.storage.turn(), _quiet():
            self._fail_the_dead()
            live = self.study.get_trials(deepcopy=False, states=(*DONE, TrialState.RUNNING))
            taken = {index_of(trial) for trial in live}
            index = next((index for index in range(wanted) if index not in taken), None)
            if index is None:
                return None
            plan = self.plan
            self.study.sampler = sampler_of(plan.sampler, plan.seed, index, plan.defaults)
            trial = self.study.ask(dict(plan.distributions))
            trial.set_user_attr(INDEX, index)
            self.storage.optuna.record_heartbeat(trial._trial_id)
            trial.set_user_attr(WORKER, self._worker)
            return Claim(index, trial)

    def _fail_the_dead(self) -> None:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs.get(WORKER)
            # Whoever holds the turn is alone in making trials: one without a worker lost it while being made.
            alive = False if worker is None else _is_alive(worker)
            with suppress(UpdateFinishedTrialError):  # it may end at any time
                if alive:
                    # Its lock is held: that its heart was not heard (a pause, or the storage was away) is no
                    # death, and two workers of one machine would train in one folder.
                    self.storage.optuna.record_heartbeat(trial._trial_id)
                elif alive is not None:
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        fail_stale_trials(self.study)

    def give_back(self, claim: Claim) -> None:
        """Let somebody else, or a later run, train it."""
        with lost_storage(self.storage.url), _quiet(), suppress(UpdateFinishedTrialError):
            self.study.tell(claim.trial, state=TrialState.FAIL, skip_if_finished=True)

    def finish(self, claim: Claim, value: float | None, facts: Mapping[str, Any]) -> None:
        """Record a trial's value, None where it was stopped early, and what else is to be known of it.

        ClaimLostError where somebody else has ended the trial.
        """
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        with lost_storage(self.storage.url), keeping_claim(claim.index), _quiet():
            for name, fact in facts.items():
                claim.trial.set_user_attr(name, fact)
            found = self.study.tell(claim.trial, value, state=state, skip_if_finished=True)
            if found.state != state:
                raise UpdateFinishedTrialError

    @contextmanager
    def heartbeat(self, claim: Claim) -> Iterator[None]:
        """Let workers on other machines know, for as long as the block lasts, that this one lives."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT_SECONDS):
                try:
                    self.storage.optuna.record_heartbeat(claim.trial._trial_id)
                except (StorageInternalError, SQLAlchemyError):
                    continue  # the storage may answer the next time; a few beats may be missed

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def index_of(trial: FrozenTrial) -> int:
    """Return a trial's index."""
    return int(trial.user_attrs.get(INDEX, -1))


@contextmanager
def keeping_claim(index: int) -> Iterator[None]:
    """Raise ClaimLostError where somebody else has ended the trial that is worked at."""
    try:
        yield
    except UpdateFinishedTrialError as error:
        raise ClaimLostError(
            f"trial {index}: claim lost, as nothing was heard of this worker for {GRACE_SECONDS} s"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out Optuna's remarks on heartbeats outside of its own loop, which is what is done here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Heartbeat of storage")
        yield


def _workers() -> Path:
    return folder() / "workers"


@contextmanager
def _alive() -> Iterator[str]:
    """Hold a lock on a file of this worker's own, which the kernel lets go when the process ends."""
    _workers().mkdir(parents=True, exist_ok=True)
    name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    path = _workers() / name
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield name
        path.unlink()


def _is_alive(worker: str) -> bool | None:
    """Say whether a worker of this machine lives; None of another's, of which nothing is known here."""
    path = _workers() / worker
    if not path.exists():
        return None
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
