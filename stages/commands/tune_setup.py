"""What a search is made of: the section `tune`, train's own, the data, and one digest of all that matters."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stages import train as training
from stages.commands.check_training import recipe_faults, searched_networks, train_faults
from stages.commands.tune_trial import UPWARDS, Recipe
from stages.lib.config import read_params
from stages.lib.errors import InputError
from stages.lib.journal import Parent
from stages.lib.provenance import DVC_FILE, Inputs, digest
from stages.lib.search_space import SECTION, patched, value_at
from stages.lib.study import Plan
from stages.lib.study_samplers import distributions, pruner_of
from stages.lib.study_storage import folder, storage_name, storage_url
from stages.lib.tune_data import Material, load_material
from stages.lib.tune_params import TUNE, Params, tune_faults
from stages.lib.yaml_file import read_yaml

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Setup:
    """params: the section tune. section: train's plain values as they stand in the params file."""

    params: Params
    section: Mapping[str, Any]
    material: Material
    asked_name: str

    @property
    def recipe(self) -> Recipe:
        """What all trials have in common."""
        budget = {"train.epochs": self.params.epochs} if self.params.epochs else {}
        seeds = tuple(range(self.params.seed, self.params.seed + self.params.seeds))
        return Recipe(patched(self.section, budget), self.params.metric, seeds)

    @property
    def train(self) -> training.Params:
        """What the first trial trains with."""
        return training.Params.model_validate_json(json.dumps(self.recipe.section))

    @property
    def keys(self) -> tuple[str, ...]:
        """The searched keys, in order."""
        return tuple(sorted(self.params.space))

    @property
    def defaults(self) -> dict[str, Any]:
        """The searched keys as they stand."""
        return {key: value_at(self.section, key) for key in self.keys}

    @property
    def upwards(self) -> bool:
        """Whether more of the metric is better."""
        return UPWARDS[self.params.metric]

    @cached_property
    def digest(self) -> str:
        """A hash of space, params, data and code: all that a trial's result hangs on."""
        chosen = self.params.model_dump(mode="json", exclude={"trials", "storage", "workers"})
        own = {name: value for name, value in self.section.items() if name != "seeds"}
        parts = [chosen, own, self.material.digest(), _code()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The study's name."""
        return self.asked_name or f"study-{self.digest[:12]}"

    @property
    def folder(self) -> Path:
        """Where its results lie on this machine."""
        return folder() / self.name

    @property
    def plan(self) -> Plan:
        """The study, as `lib/study.py` takes it."""
        drawn = distributions(self.params.space, training.Params)
        return Plan(
            name=self.name,
            digest=self.digest,
            direction="maximize" if self.upwards else "minimize",
            distributions=drawn,
            defaults={
                key: self.params.space[key].text_of(value) if self.params.space[key].choices else value
                for key, value in self.defaults.items()
            },
            sampler=self.params.sampler,
            seed=self.params.seed,
            pruner=pruner_of(self.params.pruner, sum(training.epochs_of(self.train).values())),
        )

    @cached_property
    def _study(self) -> dict[str, Any]:
        """The study and where it is kept: people with a storage each have runs of their own."""
        return {
            "tune.study": self.name,
            "tune.storage": storage_name(storage_url(self.params.storage)),
        }

    @property
    def inputs(self) -> Inputs:
        """What the tracker is told of the study."""
        space = {f"tune.space.{key}": self.params.space[key].model_dump(mode="json") for key in self.keys}
        told = self.params.model_dump(
            mode="json", include={"sampler", "seed", "seeds", "epochs", "pruner", "metric"}
        )
        own = {f"tune.{name}": value for name, value in told.items()}
        return Inputs("assay tune", {**self._study, **own, **space}, {"data/split": self.digest})

    def trial_inputs(self, index: int, values: Mapping[str, Any]) -> Inputs:
        """What the tracker is told of a trial."""
        own = {**self._study, "tune.trial": index}
        return Inputs("assay tune", own | dict(values), {"data/split": self.digest})

    @property
    def parent(self) -> Parent:
        """The run that the trials' runs are nested in."""
        return Parent(TUNE, self.inputs.key(), f"tune {self.name}")


def load_setup(params_file: Path, data: Path, name: str) -> Setup:
    """Read and check everything; InputError before any trial where something is wrong."""
    if name and not NAME.fullmatch(name):
        raise InputError(
            f"--study {name!r}: letters, digits, dots, dashes, 64 at most: it names a folder, too"
        )
    raw = read_params(params_file)
    _refuse(tune_faults(raw, training.Params), params_file)
    params = Params.model_validate_json(json.dumps(raw[TUNE]))
    section = raw[SECTION]
    targets = params.space.get("train.targets")
    votes = section["targets"] == "annotators" or targets is not None
    setup = Setup(params, section, load_material(data, votes), name)
    image_size = setup.material.dataset.pixels.shape[1]
    _refuse(train_faults(setup.train, image_size), params_file)
    _refuse(recipe_faults(setup.train, searched_networks(params.space), image_size), params_file)
    return setup


def _refuse(faults: list[str], params_file: Path) -> None:
    if faults:
        raise InputError(f"{params_file} has {len(faults)} fault(s):\n" + "\n".join(faults))


def _code() -> dict[str, str]:
    """Return the digests of the sources that the stage train depends on."""
    stages = read_yaml(DVC_FILE)["stages"] if DVC_FILE.exists() else {}
    sources = [path for path in stages.get(SECTION, {}).get("deps", ()) if path.startswith("stages/")]
    return {path: digest(Path(path)) for path in sources}
