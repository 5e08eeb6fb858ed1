"""Two releases are compared by data, params, code, figures on common samples, and gates."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from stages.commands.diff import diff, paired_difference, sections
from stages.lib.artifacts import read_json, read_table, write_json, write_table
from stages.lib.claims import read_scored, write_scored
from stages.lib.errors import InputError
from stages.lib.payload import AUDIT, SAMPLES, SCORED
from stages.lib.signing import PUBLIC
from stages.lib.verification import scored_again
from tests.release_fixture import Project


def told(old: Path, new: Path) -> dict[str, list[str]]:
    return {title: list(lines) for title, lines in sections(old, new)}


@pytest.fixture
def other(project: Project, tmp_path: Path) -> Path:
    """A second bundle, still the same."""
    shutil.copytree(project.bundle, tmp_path / "other")
    return tmp_path / "other"


def test_the_same_release_differs_in_nothing(
    project: Project, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(project.bundle, other)
    assert [found[title] for title in ("data", "params", "code and inputs", "gates")] == [[], [], [], []]
    assert "+0.00 points (" in found["figures"][-1]
    assert "which includes none" in found["figures"][-1]
    diff(project.bundle, other, project.keys / PUBLIC)
    assert capsys.readouterr().out.count("no change") == 4


def test_data_that_came_went_and_changed_are_counted_with_an_example(project: Project, other: Path) -> None:
    rows = read_table(project.bundle / SAMPLES).to_pylist()
    gone, relabelled, moved = rows[0], rows[1], rows[2]
    rows = [*rows[1:], gone | {"sample_id": "zz-new"}]
    relabelled["label"], moved["split"] = "another", "elsewhere"
    write_table(other / SAMPLES, pa.Table.from_pylist(rows))
    lines = told(project.bundle, other)["data"]
    assert lines[:2] == ["1 samples added, such as zz-new", f"1 samples removed, such as {gone['sample_id']}"]
    assert lines[2].startswith(f"1 samples relabelled, such as {relabelled['sample_id']}")
    assert lines[3].startswith(f"1 samples in another split, such as {moved['sample_id']}")


def test_changed_params_and_code_are_named(project: Project, other: Path) -> None:
    audit = read_json(other / AUDIT)
    build = audit["predicate"]["buildDefinition"]
    build["externalParameters"]["release"]["max_ece"] = 0.01
    build["resolvedDependencies"][0]["digest"]["gitCommit"] = "f" * 40
    write_json(other / AUDIT, audit)
    found = told(project.bundle, other)
    assert found["params"] == ["release/max_ece: 0.2 → 0.01"]
    assert [line.startswith("code: ") for line in found["code and inputs"]] == [True]


def test_a_worse_model_differs_beyond_chance_on_the_common_samples(project: Project, other: Path) -> None:
    scored = read_scored(project.bundle / SCORED)
    worse = scored.pred_probs.copy()
    worse[::2] = np.roll(worse[::2], 1, axis=1)
    write_scored(other / SCORED, scored_again(scored, worse))
    settings = {"seed": 0, "bootstrap_draws": 300, "confidence": 0.95}
    found = paired_difference(scored, read_scored(other / SCORED), settings)
    assert found is not None
    mean, (low, high), n = found
    assert n == len(scored.part("test"))
    assert low < mean < high < 0


def test_a_release_that_was_changed_is_not_compared(project: Project, other: Path) -> None:
    (other / SAMPLES).write_bytes(b"other")
    with pytest.raises(InputError, match="cannot be trusted"):
        diff(project.bundle, other, project.keys / PUBLIC)
