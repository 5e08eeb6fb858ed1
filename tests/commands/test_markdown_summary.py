"""The summary of a pull request: figures against another commit's, params, gates; names are text."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.commands.markdown_summary import accuracy_table, gate_lines, markdown_summary
from stages.lib.errors import InputError
from tests.dvc_project import DvcProject


def score(accuracy: float, n: int = 200) -> dict[str, Any]:
    return {"top1_accuracy": accuracy, "top1_accuracy_ci": [accuracy - 0.05, accuracy + 0.05], "n": n}


def write_results(root: Path, test: dict[str, Any], epochs: int) -> None:
    (root / "data" / "evaluate").mkdir(parents=True, exist_ok=True)
    results = {"test": test, "seeds": {"test": {}}}
    (root / "data" / "evaluate" / "metrics.json").write_text(json.dumps(results))
    (root / "params.yaml").write_text(f"train: {{epochs: {epochs}, seeds: [0, 1]}}\n")


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DvcProject:
    project = DvcProject(tmp_path, tmp_path)
    write_results(tmp_path, {"dummy": score(0.1), "ensemble": score(0.9)}, 10)
    project.must("git", "init", "-q", "-b", "main")
    project.must("git", "add", "-A")
    project.must("git", "commit", "-q", "-m", "Before")
    monkeypatch.chdir(tmp_path)
    return project


def test_figures_and_params_stand_against_the_other_commits(clone: DvcProject) -> None:
    write_results(clone.root, {"dummy": score(0.1), "ensemble": score(0.925), "student": score(0.8)}, 20)
    text = markdown_summary("HEAD").replace("\N{NO-BREAK SPACE}", " ")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "| ensemble | 90.0 % | 92.5 % | +2.5 points | 85.0 to 95.0 % | 87.5 to 97.5 % | 200 |" in rows
    assert "| student | – | 80.0 % | – | – | 75.0 to 85.0 % | 200 |" in rows
    assert "| train/epochs | 10 | 20 |" in rows
    assert "seeds" not in text


def test_the_reports_sentences_stand_below_the_table_as_plain_text(clone: DvcProject) -> None:
    path = clone.root / "data" / "evaluate" / "metrics.json"
    told: dict[str, Any] = {"slices": "<b>2</b> slices.", "headline": "The ensemble names 9 of 10."}
    told["compared"] = ["Less [x](y)."]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"story": told}))
    items = [line for line in markdown_summary(None).splitlines() if line.startswith("- ")]
    assert items[0] == "- The ensemble names 9 of 10."
    assert items[1] == "- Less \\[x\\]\\(y\\)."
    assert items[2].startswith("- &lt;b")


def test_nothing_changed_is_said(clone: DvcProject) -> None:
    text = markdown_summary("HEAD")
    assert "+0.0 points" in text
    assert "### Params that differ from HEAD\n\nnone" in text


def test_an_unknown_commit_is_refused(clone: DvcProject) -> None:
    for name in ("nothing", "--help", ""):
        if name:
            with pytest.raises(InputError, match="git knows no commit"):
                markdown_summary(name)
    assert "## Test accuracy" in markdown_summary(None)


def test_before_anything_was_evaluated_it_says_so(clone: DvcProject) -> None:
    (clone.root / "data/evaluate/metrics.json").unlink()
    with pytest.raises(InputError, match="make repro"):
        markdown_summary(None)


def test_names_cannot_leave_their_cell() -> None:
    (row,) = list(accuracy_table({"a|b<i>": score(0.5)}, None))[2:]
    assert row.startswith("| a\\|b&lt;i\\> |")


def test_gates_that_stand_against_a_release_are_named() -> None:
    gates = [
        {"name": "size", "value": 1, "bound": "<= 2", "passed": True, "override": None},
        {"name": "slices", "value": 0.4, "bound": ">= 0.8", "passed": False, "override": {"by": "Ada"}},
        {"name": "human", "value": None, "bound": "a record", "passed": False, "override": None},
    ]
    lines = list(gate_lines({"gates": gates}))
    assert lines[0] == "1 of 3 passed."
    assert [line.split("**")[1] + line.split("**")[2].split(":")[0] for line in lines[1:]] == [
        "slices overridden by Ada",
        "human failed",
    ]
