"""One name in five places: wiring, params, code, data and tests say the same."""

import ast
import importlib
import re
import subprocess
import sys
import typing
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.commands.check import param_faults
from stages.lib.chain import SECTIONS, STAGES
from stages.lib.cli import Context
from stages.lib.config import Section, read_params

ROOT = Path(__file__).parent.parent
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def paths(entries: list[Any]) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def closure(module: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """Files of this project that importing (or running) a module can load, imports in functions included."""
    path = Path(*module.split(".")).with_suffix(".py")
    if not (ROOT / path).exists() or path.as_posix() in seen:
        return set()
    found = {path.as_posix()}
    for name in imported(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        found |= closure(name, seen | found)
    return found


def imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("stages")}


def run_of(stage: str) -> dict[str, type]:
    """Return what the stage's `run` takes by keyword, with the types."""
    run = importlib.import_module(f"stages.{stage}").run
    hints = typing.get_type_hints(run)
    return {p.name: hints[p.name] for p in signature(run).parameters.values() if p.kind is p.KEYWORD_ONLY}


def leaves(model: type[Section], prefix: str) -> set[str]:
    return {f"{prefix}.{name}" for name in model.model_fields}


def test_stages_stand_in_run_order_in_dvc_and_params() -> None:
    assert tuple(DVC) == STAGES
    assert tuple(read_params(ROOT / "params.yaml")) == SECTIONS


def test_the_shipped_params_are_in_order() -> None:
    assert param_faults(read_params(ROOT / "params.yaml")) == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_its_module_test_section_and_description(stage: str) -> None:
    assert (ROOT / "stages" / f"{stage}.py").exists()
    assert (ROOT / "tests" / f"test_{stage}.py").exists()
    assert DVC[stage]["desc"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_own_import_closure(stage: str) -> None:
    declared = {path for path in DVC[stage]["deps"] if path.startswith("stages/")}
    assert declared == closure(f"stages.{stage}") | template_files(stage)


def template_files(stage: str) -> set[str]:
    """Files that the stage's code reads beside it (templates, scripts): named in its sources."""
    sources = [(ROOT / path).read_text(encoding="utf-8") for path in closure(f"stages.{stage}")]
    others = [path for path in (ROOT / "stages/lib").glob("*.*") if path.suffix != ".py"]
    beside = {path.name: path.relative_to(ROOT).as_posix() for path in others}
    return {path for name, path in beside.items() if any(f'"{name}"' in source for source in sources)}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_exactly_the_leaf_params_that_it_reads(stage: str) -> None:
    own = leaves(importlib.import_module(f"stages.{stage}").Params, stage)
    foreign = {name: kind for name, kind in run_of(stage).items() if issubclass(kind, Section)}
    views = {leaf for section, model in foreign.items() for leaf in leaves(model, section)}
    matrix = {"train.seeds"} if stage == "train" else set()
    assert set(DVC[stage]["params"]) == (own | views) - matrix


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_line_is_what_run_takes(stage: str) -> None:
    options = set(re.findall(r"--([a-z-]+)", DVC[stage]["cmd"]))
    taken = {name.replace("_", "-") for name, kind in run_of(stage).items() if kind in (Path, int)}
    assert options == taken
    assert DVC[stage]["cmd"].startswith(f"python -m stages.{stage} ")


@pytest.mark.parametrize("stage", STAGES)
def test_data_comes_from_earlier_stages_and_goes_to_the_stages_own_folder(stage: str) -> None:
    earlier = STAGES[: STAGES.index(stage)]
    allowed = {"raw", "review", *earlier}
    for path in DVC[stage]["deps"]:
        assert path.startswith("stages/") or path == "requirements.lock" or path.split("/")[1] in allowed, (
            path
        )
    for kind in ("outs", "metrics", "plots"):
        assert all(path.startswith(f"data/{stage}/") for path in paths(DVC[stage].get(kind, [])))


PEOPLES = {"data/raw", "data/review", "data/review/pairs.csv", "data/review/audit.csv"}
"""What people bring and judge."""


def test_what_a_stage_reads_is_written_by_another() -> None:
    written = {
        p
        for stage in DVC.values()
        for kind in ("outs", "metrics", "plots")
        for p in paths(stage.get(kind, []))
    }
    for stage in DVC.values():
        for path in (path for path in stage["deps"] if path.startswith("data/")):
            known = path in written or any(out.startswith(f"{path}/") for out in written)
            assert known or path in PEOPLES, path


def test_every_key_of_params_has_a_comment() -> None:
    lines = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
    for before, line in pairwise(lines):
        if re.match(r"  (  )?[a-z_.]+:", line):
            assert before.lstrip().startswith("#") or "#" in line, f"no comment on: {line.strip()}"


HEAVY = {
    "torch",
    "sklearn",
    "cleanlab",
    "great_expectations",
    "mlflow",
    "matplotlib",
    "timm",
    "faiss",
    "pandas",
}


@pytest.mark.parametrize("stage", STAGES)
def test_importing_a_stage_loads_nothing_heavy(stage: str) -> None:
    code = f"import sys, stages.{stage}; print(*sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_takes_at_most_one_context_and_explains_itself(stage: str) -> None:
    kinds = list(run_of(stage).values())
    assert kinds.count(Context) <= 1
    documentation = importlib.import_module(f"stages.{stage}").__doc__
    assert documentation
    assert len(documentation.splitlines()) >= 3


def test_the_readme_names_every_stage_and_folder() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in (*STAGES, "params.yaml", "dvc.yaml", "DECISIONS.md", "make repro", "make test"):
        assert name in readme, name
