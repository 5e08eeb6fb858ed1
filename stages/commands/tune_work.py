"""The work of one process at a search: claim a trial, train it, record it, until there is none to claim."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.commands.tune_setup import Setup
from stages.commands.tune_trial import Outcome, run_trial
from stages.lib.errors import AssayError
from stages.lib.journal import Journal
from stages.lib.progress import hushed, say
from stages.lib.search_space import drawn_value
from stages.lib.study import ClaimLostError, keeping_claim
from stages.lib.study_storage import lost_storage
from stages.lib.termination import TerminatedError
from stages.lib.tune_results import facts_of

if TYPE_CHECKING:
    from stages.lib.study import Claim, Search


class InterruptedSearchError(AssayError):
    """The process was asked to end, and has saved what it had."""

    exit_code = TerminatedError.exit_code


def work(setup: Setup, search: "Search", wanted: int) -> Iterator[int]:
    """Train trials until `wanted` are finished or in others' hands; yield each one's index."""
    while (claim := search.claim(wanted)) is not None:
        try:
            _train(setup, search, claim)
        except ClaimLostError as error:
            say(f"{error}; going on with the next")
        yield claim.index


def _train(setup: Setup, search: "Search", claim: "Claim") -> None:
    values = _values(setup, claim)
    journal = Journal.start(f"tune@{claim.index}", setup.trial_inputs(claim.index, values), setup.parent)
    checkpoints = setup.folder / "checkpoints" / str(claim.index)
    key = hashlib.sha256(f"{setup.digest} {claim.index}".encode()).hexdigest()
    try:
        with hushed(), search.heartbeat(claim), _at(search, claim):
            outcome = run_trial(
                setup.recipe,
                values,
                setup.material,
                checkpoints,
                key,
                claim.trial,
                journal,
                may_stop=claim.index > 0,  # all others are held against the params as they stand
            )
    except BaseException as error:
        journal.fail(f"{type(error).__name__}: {error}")
        search.give_back(claim)
        if isinstance(error, TerminatedError):
            raise InterruptedSearchError(
                f"asked to end (SIGTERM): trial {claim.index} is saved; `assay tune` goes on from here"
            ) from error
        raise
    _record(search, claim, values, outcome, journal)
    shutil.rmtree(checkpoints, ignore_errors=True)


@contextmanager
def _at(search: "Search", claim: "Claim") -> Iterator[None]:
    with lost_storage(search.storage.url), keeping_claim(claim.index):
        yield


def _values(setup: Setup, claim: "Claim") -> dict[str, Any]:
    """Return what the trial trains with: as it stands in params.yaml, or as it was drawn."""
    if claim.index == 0:
        return setup.defaults
    return {key: drawn_value(claim.trial.params[key], setup.params.space[key]) for key in setup.keys}


def _record(
    search: "Search", claim: "Claim", values: dict[str, Any], outcome: Outcome, journal: Journal
) -> None:
    scores, reason = outcome.scores, outcome.reason
    value = None if scores is None else float(scores.mean(dtype=np.float64))
    if value is not None and not np.isfinite(value):
        value, scores, reason = None, None, "diverged: the metric is no number"
    try:
        search.finish(claim, value, facts_of(values, scores, outcome.epochs, reason))
    except ClaimLostError as error:
        journal.fail(str(error))
        raise
    if reason and not reason.startswith("pruned"):
        journal.fail(reason)
    else:
        journal.finish({"tune/pruned": 1.0} if value is None else {"tune/value": value})
