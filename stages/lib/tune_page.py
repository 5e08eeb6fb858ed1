"""report.html of a search: the verdict, every trial, and what mattered; self-contained, without script."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.lib import charts
from stages.lib.tune_importance import Importance
from stages.lib.tune_results import Trained, best
from stages.lib.tune_words import experiment_line, importance_sentence, score

TEMPLATE = "tune.html.jinja"


def page(
    facts: Mapping[str, Any],
    trials: Sequence[Trained],
    found: Sequence[Importance],
    verdict: Sequence[str],
    patch: Mapping[str, Any],
) -> str:
    """Return the page; facts: headline, name, sampler, metric, upwards, n_seeds, log_keys (by logarithm)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    complete = [trial for trial in trials if trial.value is not None]
    content = {
        "trials": trials,
        "ordered": in_order(trials, facts["upwards"]),
        "keys": list(trials[0].values) if trials else [],
        "verdict": verdict,
        "history": history_chart(complete, facts["metric"], facts["upwards"]),
        "slices": slice_charts(complete, facts["metric"], facts["log_keys"]),
        "importances": found,
        "importance_sentence": importance_sentence(found, len(complete)),
        "pruned": len(trials) - len(complete),
        "experiment": experiment_line(patch) if patch else "",
    }
    return environment.get_template(TEMPLATE).render(dict(facts) | content)


def in_order(trials: Sequence[Trained], upwards: bool) -> list[Trained]:
    """Return the complete trials from the best on, then those that were stopped."""
    rest, ordered = list(trials), []
    while (winner := best(rest, upwards)) is not None:
        ordered.append(winner)
        rest.remove(winner)
    return ordered + rest


def history_chart(complete: Sequence[Trained], metric: str, upwards: bool) -> Any:
    """Return every trial's value, and the best so far."""
    if not complete:
        return ""
    x = np.array([float(trial.index) for trial in complete])
    y = np.array([trial.value for trial in complete], np.float64)
    running = (np.maximum if upwards else np.minimum).accumulate(y)
    told = f"{len(y)} complete trials; the best {metric} is {score(float(running[-1]), metric)}."
    lines = [
        charts.Series("best so far", x, running, "first"),
        charts.Series("trial", x, y, "mark", dots=True),
    ]
    return charts.line_chart(lines, "trial", metric, told)


def slice_charts(complete: Sequence[Trained], metric: str, log_keys: Sequence[str]) -> list[Any]:
    """Return the value over each param that is a number."""
    found = []
    for key in complete[0].values if len(complete) > 1 else ():
        drawn = [trial.values[key] for trial in complete]
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in drawn):
            continue
        x = np.array(drawn, np.float64)
        label = key
        if key in log_keys:
            x, label = np.log10(x), f"{key}, as a power of ten"
        y = np.array([trial.value for trial in complete], np.float64)
        order = np.argsort(x, kind="stable")
        told = f"{metric} of {len(x)} trials over {key}."
        marks = charts.Series("trial", x[order], y[order], "mark", dots=True)
        found.append(charts.line_chart([marks], label, metric, told))
    return found
