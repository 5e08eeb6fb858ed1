"""What a search leaves: trials.csv, importance.csv, report.html and winner.yaml in its folder; a table."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.commands.tune_setup import Setup
from stages.lib.artifacts import write_text
from stages.lib.study import Search, index_of
from stages.lib.tune_importance import importances, write_importances
from stages.lib.tune_page import in_order, page
from stages.lib.tune_results import Lead, Trained, best, lead, trained, write_trials
from stages.lib.tune_words import experiment_line, headline, importance_sentence, score, verdict
from stages.lib.yaml_edit import flow

SHOWN = 10
UNCUT = 160
"""Columns that the table may take in a pipe, where nothing needs to be cut."""


@dataclass(frozen=True)
class Files:
    """patch: dotted keys in which the winner differs from params.yaml, empty where nothing beats it.

    shown: whether it is ahead beyond chance.
    """

    setup: Setup
    trials: Sequence[Trained]
    sentences: Sequence[str]
    patch: Mapping[str, Any]
    paths: Sequence[Path]
    figures: Mapping[str, float]
    shown: bool

    def show(self) -> None:
        """Print the best trials, what to think of them, and where to read on."""
        from rich.console import Console
        from rich.table import Table

        metric = self.setup.params.metric
        table = Table(title=f"Best of {len(self.trials)} trials", title_justify="left", title_style="bold")
        for heading in ("trial", metric, *self.setup.keys):
            table.add_column(heading.removeprefix("train."), justify="right")
        for trial in in_order(self.trials, self.setup.upwards)[:SHOWN]:
            value = trial.state if trial.value is None else score(trial.value, metric)
            table.add_row(str(trial.index), value, *(flow(trial.values[key]) for key in self.setup.keys))
        console = Console(width=None if sys.stdout.isatty() else UNCUT)
        console.print(table)
        for line in (*self.sentences, *self._closing()):
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _closing(self) -> list[str]:
        place = os.path.relpath(self.setup.folder)
        lines = [f"report   {place}/report.html"]
        if self.patch:
            lines += [f"winner   {place}/winner.yaml (`assay tune --apply` writes it into params.yaml)"]
            lines += [f"try it   {experiment_line(self.patch)}"]
        return lines


def write_files(setup: Setup, search: Search) -> Files:
    """Write them all from the storage's finished trials."""
    frozen = search.trials()
    trials = [trained(index_of(trial), trial.value, trial.user_attrs) for trial in frozen]
    winner = best(trials, setup.upwards)
    ahead = lead(trials, setup.material.groups, setup.upwards, setup.params.seed)
    found = importances(frozen, search.plan.distributions, setup.params.seed)
    complete = sum(trial.value is not None for trial in trials)
    sentences = verdict(trials, winner, ahead, setup.params.metric)
    patch = _patch(setup, winner)
    place = setup.folder
    names = ("trials.csv", "importance.csv", "report.html", "winner.yaml")
    write_trials(place / names[0], trials, setup.keys)
    write_importances(place / names[1], found)
    write_text(place / names[2], page(_facts(setup, winner, ahead), trials, found, sentences, patch))
    write_text(place / names[3], winner_text(patch, sentences))
    figures = {} if winner is None or winner.value is None else {"tune/best": winner.value}
    figures |= {} if ahead is None else {"tune/lead": ahead.difference, "tune/lead_chosen": ahead.chosen}
    said = [*sentences, importance_sentence(found, complete)]
    return Files(
        setup,
        trials,
        said,
        patch,
        [place / name for name in names],
        figures,
        ahead is not None and ahead.shown,
    )


def _patch(setup: Setup, winner: Trained | None) -> dict[str, Any]:
    if winner is None:
        return {}
    return {key: value for key, value in winner.values.items() if value != setup.defaults[key]}


def _facts(setup: Setup, winner: Trained | None, ahead: Lead | None) -> dict[str, Any]:
    return {
        "headline": headline(winner, ahead),
        "name": setup.name,
        "sampler": setup.params.sampler,
        "metric": setup.params.metric,
        "upwards": setup.upwards,
        "n_seeds": setup.params.seeds,
        "log_keys": [key for key in setup.keys if setup.params.space[key].log],
    }


def winner_text(patch: Mapping[str, Any], sentences: Sequence[str]) -> str:
    """Return the patch as YAML, nested as params.yaml is, under what is to be known of it."""
    import yaml

    nested: dict[str, Any] = {}
    for key, value in patch.items():
        *folders, last = key.split(".")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    body = yaml.safe_dump(nested, sort_keys=False, allow_unicode=True) if nested else "{}\n"
    return "".join(f"# {sentence}\n" for sentence in sentences) + body
