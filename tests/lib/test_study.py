"""Who trains which trial: none twice, none lost, and what is drawn does not hang on what went wrong."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna import create_study, create_trial
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.pruners import NopPruner
from optuna.trial import TrialState

from stages.commands.check import param_faults
from stages.lib.config import read_params
from stages.lib.errors import InputError, MachineError
from stages.lib.study import WORKER, Claim, ClaimLostError, Plan, Search, index_of, keeping_claim
from stages.lib.study_samplers import Halving, pruner_of
from stages.lib.study_storage import Storage, folder, lost_storage, shown, storage_name, storage_url
from tests.postgres_server import postgres

SPACE = {
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "size": IntDistribution(8, 64, step=8),
    "kind": CategoricalDistribution(['"a"', '"b"']),
}
DEFAULTS = {"rate": 1e-3, "size": 16, "kind": '"b"'}


def plan(sampler: str = "random", name: str = "s", digest: str = "d") -> Plan:
    return Plan(name, digest, "maximize", SPACE, DEFAULTS, sampler, 0, NopPruner())


def value_of(claim: Claim) -> float:
    """Stand in for training: a function of what was drawn."""
    rate, size = claim.trial.params["rate"], claim.trial.params["size"]
    return -((np.log10(rate) + 2) ** 2) - abs(size - 32) / 64


def train(search: Search, wanted: int, most: int = 10**6) -> None:
    while most and (claim := search.claim(wanted)) is not None:
        search.finish(claim, value_of(claim), {"reason": ""})
        most -= 1


def found(search: Search) -> list[tuple[int, dict[str, Any], float | None]]:
    return [(index_of(trial), trial.params, trial.value) for trial in search.trials()]


@pytest.fixture
def opened(_own_state: Path) -> Iterator[Callable[..., Search]]:
    """Open a study again and again, each time in a file of its own name and as a new worker."""
    contexts = []

    def open_study(file: str = "one", **what: Any) -> Search:
        contexts.append(Search.open(Storage.open(f"sqlite:///{_own_state / file}.db"), plan(**what)))
        return contexts[-1].__enter__()

    _own_state.mkdir(parents=True, exist_ok=True)
    yield open_study
    for context in contexts:
        context.__exit__(None, None, None)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_six_trials_in_one_go_are_three_a_death_and_three(
    opened: Callable[..., Search], sampler: str
) -> None:
    wanted = 6 if sampler == "random" else 14  # tpe draws at random until it has seen ten
    whole = opened("whole", sampler=sampler)
    train(whole, wanted)
    first = opened("parts", sampler=sampler)
    train(first, wanted, most=wanted // 2)
    dies_in_trial(first, wanted)
    second = opened("parts", sampler=sampler)
    train(second, wanted)
    assert found(second) == found(whole)
    assert [index for index, _, _ in found(second)] == list(range(wanted))
    assert found(second)[0][1] == DEFAULTS


def dies_in_trial(search: Search, wanted: int) -> None:
    """Claim a trial as a worker whose lock nobody holds any more, and leave it."""
    (folder() / "workers" / "gone").touch()
    claim = search.claim(wanted)
    assert claim is not None
    assert claim.index == wanted // 2
    claim.trial.set_user_attr(WORKER, "gone")
    states = [trial.state for trial in search.study.get_trials(deepcopy=False)]
    assert states.count(TrialState.RUNNING) == 1


def test_no_trial_is_claimed_twice_and_none_beyond_those_asked_for(opened: Callable[..., Search]) -> None:
    one, two = opened(), opened()
    first, second = one.claim(3), two.claim(3)
    assert first is not None
    assert second is not None
    assert (first.index, second.index) == (0, 1)
    third = two.claim(3)
    assert third is not None
    assert one.claim(3) is None
    one.give_back(first)
    again = two.claim(3)
    assert again is not None
    assert again.index == 0
    for claim in (again, second, third):
        two.finish(claim, value_of(claim), {"reason": ""})
    assert one.claim(3) is None
    assert [index_of(trial) for trial in one.trials()] == [0, 1, 2]


def test_a_trial_that_was_stopped_early_is_finished_and_one_taken_for_dead_is_recorded_once(
    opened: Callable[..., Search],
) -> None:
    search, other = opened(), opened()
    claim = search.claim(1)
    assert claim is not None
    search.give_back(claim)  # as if its heart had stood still
    again = other.claim(1)
    assert again is not None
    other.finish(again, None, {"reason": "pruned"})
    for facts in ({}, {"reason": ""}):
        with pytest.raises(ClaimLostError, match="trial 0: claim lost"):
            search.finish(claim, 1.0, facts)
    with pytest.raises(ClaimLostError), keeping_claim(0):
        claim.trial.report(1.0, 1)
    assert [(trial.state, trial.value) for trial in search.trials()] == [(TrialState.PRUNED, None)]


def test_a_worker_of_another_machine_is_dead_when_its_heart_stands_still(
    opened: Callable[..., Search], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    search = opened()
    claim = search.claim(2)
    assert claim is not None
    monkeypatch.setattr("stages.lib.study._workers", lambda: tmp_path / "elsewhere")
    other = opened(file="one")
    second = other.claim(2)
    assert second is not None
    assert second.index == 1, "its heart beats"
    search.storage.optuna.grace_period = other.storage.optuna.grace_period = 1
    deadline = time.monotonic() + 20
    while (third := other.claim(1)) is None and time.monotonic() < deadline:
        time.sleep(0.2)
    assert third is not None
    assert third.index == 0


def test_a_worker_of_this_machine_that_holds_its_lock_lives_though_its_heart_stood_still(
    opened: Callable[..., Search],
) -> None:
    one, two = opened(), opened()
    claim = one.claim(1)
    assert claim is not None
    with one.storage.optuna.engine.begin() as connection:
        connection.exec_driver_sql("update trial_heartbeats set heartbeat = '2000-01-01 00:00:00.000000'")
    assert two.claim(1) is None
    one.finish(claim, 1.0, {"reason": ""})
    assert [trial.value for trial in two.trials()] == [1.0]


def test_other_data_never_mix_into_a_study(opened: Callable[..., Search]) -> None:
    opened()
    with pytest.raises(InputError, match="results do not mix"):
        opened(digest="other")


def test_halving_lets_the_best_third_go_on() -> None:
    study = create_study(direction="maximize")
    pruner = Halving(9)
    assert pruner.rungs == (1, 3)
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
    for value, state in zip((0.9, 0.5, 0.99, 0.4), states, strict=True):
        ended = {"value": value} if state == TrialState.COMPLETE else {}
        study.add_trial(create_trial(state=state, intermediate_values={1: value}, **ended))

    def stops(value: float, step: int = 1) -> bool:
        trial = study.ask()
        trial.report(value, step)
        decided = trial.study.get_trials(deepcopy=False)[-1]
        stopped = pruner.prune(study, decided)
        study.tell(trial, state=TrialState.FAIL)
        return stopped

    assert not stops(0.95), "the best; the better one failed and does not count"
    assert stops(0.85)
    assert not stops(0.1, step=2), "no rung"
    assert not stops(0.1, step=3), "the first to come here"


def test_a_storage_that_does_not_answer_is_one_sentence_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "postgresql+pg8000://me:secret@127.0.0.1:1/db"
    monkeypatch.setenv("ASSAY_TUNE_STORAGE", url)
    assert storage_url("") == url
    assert shown(url) == "postgresql+pg8000://me@127.0.0.1:1/db"
    with pytest.raises(MachineError, match="Nothing that was finished is lost") as caught:
        Storage.open(url)
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("ASSAY_TUNE_STORAGE", "mysql://x")
    with pytest.raises(InputError, match="ASSAY_TUNE_STORAGE"):
        storage_url("")
    assert os.environ["ASSAY_TUNE_STORAGE"]


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("host/db?user=me&password=secret", "host/db"),
        ("me:secret@host:5432/db?timeout=3", "me@host:5432/db"),
        ("me@host/db", "me@host/db"),
        ("me:se@cret@host/db", "…"),
        ("me:se/cret@host/db", "…"),
        ("host/db?password=secret@x", "…"),
    ],
)
def test_a_url_is_shown_without_its_password_wherever_that_stands(place: str, told: str) -> None:
    assert shown(f"postgresql+pg8000://{place}") == f"postgresql+pg8000://{told}"


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql+pg8000://host/db?user=me&password=secret",
        "postgresql+pg8000://host/db?user=me&p%61ssword=secret",
        "postgresql+pg8000://me:secret@host/db",
        "postgresql+pg8000://me:secret?x@host/db",
        "mysql://me:secret@host/db",
        ["secret"],
    ],
)
def test_a_password_in_the_params_is_refused_and_not_repeated(storage: object) -> None:
    raw = read_params()
    (fault,) = param_faults({**raw, "tune": {**raw["tune"], "storage": storage}})
    assert fault.startswith("  tune.storage: ")
    assert "secret" not in fault
    kept = {**raw["tune"], "storage": "postgresql+pg8000://me@host/db?timeout=3"}
    assert not param_faults({**raw, "tune": kept})


@pytest.mark.parametrize("place", ["me:secret@host:abc/db", "me:secret@host:5432x/db"])
def test_what_is_no_url_is_refused_in_one_sentence_without_its_parts(place: str) -> None:
    with pytest.raises(InputError, match="no URL of the form") as caught:
        Storage.open(f"postgresql+pg8000://{place}")
    assert not any(part in str(caught.value) for part in ("sec", "cret", "abc", "me:"))


def test_an_error_that_says_nothing_is_told_by_its_name() -> None:
    with pytest.raises(MachineError, match="StorageInternalError"), lost_storage("sqlite:///x.db"):
        raise StorageInternalError


def test_two_processes_at_one_postgresql_database_train_every_trial_once(tmp_path: Path) -> None:
    with postgres(tmp_path) as url:
        code = (
            "import sys\n"
            "from tests.lib.test_study import plan, train\n"
            "from stages.lib.study import Search\n"
            "from stages.lib.study_storage import Storage\n"
            "with Search.open(Storage.open(sys.argv[1]), plan()) as search:\n"
            "    train(search, 10)\n"
        )
        two = [subprocess.Popen([sys.executable, "-c", code, url]) for _ in range(2)]
        assert [process.wait(120) for process in two] == [0, 0]
        with Search.open(Storage.open(url), plan()) as search:
            states = [trial.state for trial in search.study.get_trials(deepcopy=False)]
            workers = {trial.user_attrs[WORKER] for trial in search.trials()}
            shared = found(search)
            search.storage.optuna.engine.dispose()
            search.study._storage.remove_session()
    assert states == [TrialState.COMPLETE] * 10
    assert [index for index, _, _ in shared] == list(range(10))
    assert len(workers) == 2, "both had their share"
    with Search.open(Storage.open(f"sqlite:///{tmp_path / 'alone.db'}"), plan()) as search:
        train(search, 10)
        assert found(search) == shared


def test_a_storage_that_is_a_file_has_a_name_of_its_own_and_a_database_one_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for person in ("ada", "bob", "ada"):
        monkeypatch.setenv("ASSAY_STATE", str(tmp_path / person))
        names.append(storage_name(storage_url("")))
        assert storage_name("postgresql+pg8000://a:b@host/db") == "a database"
    assert names[0] == names[2] != names[1]


def test_the_median_prunes_nothing_in_the_first_quarter() -> None:
    study = create_study(direction="maximize", pruner=pruner_of("median", 8))
    for _ in range(5):
        study.add_trial(create_trial(value=0.9, intermediate_values=dict.fromkeys(range(1, 9), 0.9)))
    trial = study.ask()
    decided = []
    for step in (1, 2, 3):
        trial.report(0.1, step)
        decided.append(trial.should_prune())
    assert decided == [False, True, True]
