"""What a search's results mean, in sentences: on the terminal, in report.html and in winner.yaml alike."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from stages.lib.intervals import Interval
from stages.lib.tune_importance import FEWEST, LEVEL, Importance
from stages.lib.tune_results import CONFIDENCE, Lead, Trained

ACCURACY = "val_top1_accuracy"

NOT_SHOWN = (
    "That it is better at all is not shown: more val images, more seeds a trial, or the params as they stand."
)


def score(value: float, metric: str) -> str:
    """Return a metric's value for people."""
    return f"{value:.2%}" if metric == ACCURACY else f"{value:.4f}"


def difference(value: float, metric: str) -> str:
    """Return a lead with its sign: points of accuracy, or loss."""
    return f"{100 * value:+.2f} points" if metric == ACCURACY else f"{value:+.4f}"


def _span(interval: Interval, metric: str) -> str:
    low, high = (100 * end for end in interval) if metric == ACCURACY else interval
    return f"{low:+.2f} to {high:+.2f}" if metric == ACCURACY else f"{low:+.4f} to {high:+.4f}"


def setting(values: Mapping[str, Any]) -> str:
    """Return drawn values in one line, without the section's name."""
    shown = (f"{key.partition('.')[2]} {json.dumps(value)}" for key, value in values.items())
    return ", ".join(shown)


def verdict(trials: Sequence[Trained], winner: Trained | None, found: Lead | None, metric: str) -> list[str]:
    """Return what to think of the winner, and how far to trust it."""
    n_complete = sum(trial.value is not None for trial in trials)
    if winner is None or winner.value is None:
        return ["No trial was complete: see the reasons in trials.csv."]
    told = f"trial {winner.index}, {metric} {score(winner.value, metric)}"
    if winner.index == 0:
        return [f"The params as they stand are the best of {n_complete} complete trials ({told}): keep them."]
    if found is None:
        lacking = "The params as they stand have no result to hold it against."
        alone = "All val images are of one group: how much of its lead is luck, nobody can say."
        return [f"The winner is {told}. {lacking if trials[0].value is None else alone}"]
    level = f"{CONFIDENCE:.0%}"
    return [
        f"The winner is {told}; the params as they stand (trial 0) have {score(_first(trials), metric)}. "
        f"Lead {difference(found.difference, metric)}, {level} interval {_span(found.interval, metric)} "
        f"(paired, {found.n} val images).",
        f"It is the best of {n_complete} complete trials on those images, which flatters it. Chosen on some "
        f"and judged on the others, its lead is {difference(found.chosen, metric)} "
        f"({_span(found.chosen_interval, metric)}), and its {metric} {score(found.expected, metric)}.",
        "It is ahead beyond chance. Another seed still takes some of the lead away."
        if found.shown
        else NOT_SHOWN,
    ]


def headline(winner: Trained | None, found: Lead | None) -> str:
    """Return the verdict in a few words."""
    if winner is None:
        return "No trial was complete"
    if winner.index == 0:
        return "Nothing beat the params as they stand"
    if found is not None and found.shown:
        return f"Trial {winner.index} is better than the params as they stand"
    return f"Trial {winner.index} comes out first; that it is better is not shown"


def _first(trials: Sequence[Trained]) -> float:
    value = trials[0].value
    assert value is not None
    return value


def importance_sentence(found: Sequence[Importance], n_complete: int) -> str:
    """Return what the importances say, or why there are none."""
    if not found:
        return (
            f"No importances from {n_complete} complete trials: {FEWEST} or more, of different values, tell."
        )
    shown = [one.key for one in found if one.shown]
    told = (
        f"more than values shuffled among the trials give (p ≤ {LEVEL}): {', '.join(shown)}"
        if shown
        else "none explains more than values shuffled among the trials do: these shares mean nothing"
    )
    return f"Share of the variance that a param explains alone, n = {found[0].n} complete trials; {told}."


def experiment_line(patch: Mapping[str, Any]) -> str:
    """Return the DVC command that runs the chain with a patch of dotted keys."""
    settings = (f"-S {shlex.quote(f'{key}={_hydra(value)}')}" for key, value in patch.items())
    return " ".join(["dvc exp run", *settings])


def _hydra(value: Any) -> str:
    """Return a plain value in the grammar of DVC's -S."""
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.:-]*", value) else f"'{value}'"
    return json.dumps(value)
