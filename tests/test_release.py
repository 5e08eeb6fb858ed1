"""The gates let pass what its records bear out, and nothing else."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages.lib.artifacts import read_csv, read_json, read_table, write_csv, write_json, write_table
from stages.lib.claims import read_scored
from stages.lib.gates import shown
from stages.lib.overrides import Override, write_overrides
from stages.lib.payload import NAMED, digest_of, files_of
from tests.release_fixture import Project, judge, regate


def failed(verdict: Mapping[str, Any]) -> list[str]:
    return [gate["name"] for gate in verdict["gates"] if not gate["passed"]]


def the(gate: str, verdict: Mapping[str, Any]) -> dict[str, Any]:
    (found,) = (item for item in verdict["gates"] if item["name"] == gate)
    return dict(found)


def test_a_sound_model_passes_and_its_payload_is_whole(signed: Project) -> None:
    assert failed(read_json(signed.data / "release" / "verdict.json")) == []
    assert read_json(signed.data / "release" / "verdict.json")["passed"]
    assert set(files_of(signed.payload, signed=False)) == {*NAMED, "model.safetensors"}


def test_the_same_chain_gives_the_same_payload_in_another_folder(signed: Project, project: Project) -> None:
    shutil.rmtree(project.payload)
    judge(project)
    assert digest_of(project.payload) == digest_of(signed.payload)


def test_onnx_names_no_file_of_this_machine(project: Project) -> None:
    content = (project.payload / "model.onnx").read_bytes()
    assert b".py" not in content
    assert str(Path(__file__).parents[1]).encode() not in content


@pytest.mark.slow
def test_an_ensemble_can_be_released_with_every_members_weights(project: Project) -> None:
    assert judge(project, model="ensemble")["passed"] == 1
    weights = {path.name for path in project.payload.glob("*.safetensors")}
    assert weights == {"seed0.safetensors", "seed1.safetensors"}


def test_a_model_that_does_not_beat_linear_is_refused(project: Project) -> None:
    predictions = project.data / "predict" / "predictions" / "student.parquet"
    shutil.copyfile(predictions, project.data / "baseline" / "predictions" / "linear.parquet")
    assert failed(regate(project)) == ["beats_linear"]


def test_the_strongest_dummy_is_what_must_be_beaten(project: Project) -> None:
    predictions = project.data / "predict" / "predictions" / "student.parquet"
    shutil.copyfile(predictions, project.data / "baseline" / "predictions" / "dummy_noise.parquet")
    verdict = regate(project)
    assert failed(verdict) == ["beats_dummy"]
    assert "`dummy_noise`, the strongest of" in the("beats_dummy", verdict)["why"]


def test_other_weights_than_those_that_were_judged_are_refused_and_no_payload_is_left(
    project: Project,
) -> None:
    other = project.data / "train" / "seed1" / "model.safetensors"
    shutil.copyfile(other, project.data / "distill" / "model.safetensors")
    assert judge(project)["passed"] == 0
    assert "rescored" in failed(read_json(project.data / "release" / "verdict.json"))
    assert list(project.payload.iterdir()) == []


@pytest.mark.parametrize(
    ("record", "gate"),
    [
        ("preflight/checks.json", "preflight"),
        ("validate/verdict.json", "validation"),
        ("baseline/human.json", "human"),
        ("evaluate/metrics.json", "agrees_with_evaluation"),
        ("curate/ledger.csv", "test_labels_by_rule"),
    ],
)
def test_a_missing_record_is_a_failed_gate_that_nobody_can_override(
    project: Project, record: str, gate: str
) -> None:
    (project.data / record).unlink()
    verdict = regate(project, [Override(gate, "None", "trust me", "Eve", "")])
    found = the(gate, verdict)
    assert (found["passed"], found["value"], found["override"]) == (False, None, None)
    assert "missing" in found["why"]
    assert not verdict["passed"]


def test_a_record_that_is_no_record_is_a_failed_gate(project: Project) -> None:
    (project.data / "preflight" / "checks.json").write_text('{"checks": 3}')
    assert failed(regate(project)) == ["preflight"]


def test_no_checks_at_all_are_not_all_checks_passed(project: Project) -> None:
    write_json(project.data / "preflight" / "checks.json", {"passed": True, "checks": []})
    assert failed(regate(project)) == ["preflight"]


def test_a_failed_preflight_check_is_named(project: Project) -> None:
    path = project.data / "preflight" / "checks.json"
    record = read_json(path)
    record["checks"][0]["passed"] = False
    write_json(path, record)
    found = the("preflight", regate(project))
    assert "loss_at_initialisation" in found["why"]
    assert not found["passed"]


def test_a_copy_across_the_split_is_a_leak(project: Project) -> None:
    splits = {row["sample_id"]: row["split"] for row in read_csv(project.data / "split" / "splits.csv")}
    test = next(name for name, split in splits.items() if split == "test")
    train = next(name for name, split in splits.items() if split == "train")
    path = project.data / "duplicates" / "groups.parquet"
    rows = pa.table({"sample_id": [test, train], "group_id": [test, test]})
    write_table(path, pa.concat_tables([read_table(path), rows]))
    assert failed(regate(project)) == ["leaked_test_samples"]


def test_a_users_group_across_the_split_is_a_leak(project: Project) -> None:
    splits = {row["sample_id"]: row["split"] for row in read_csv(project.data / "split" / "splits.csv")}
    pair = {next(name for name, split in splits.items() if split == wanted) for wanted in ("test", "train")}
    for path in (project.data / "ingest" / "manifest.parquet", project.data / "curate" / "samples.parquet"):
        table = read_table(path)
        ids = table["sample_id"].to_pylist()
        groups = pa.array(["patient 1" if name in pair else None for name in ids], pa.string())
        write_table(path, table.set_column(table.column_names.index("group"), "group", groups))
    assert failed(regate(project)) == ["leaked_test_samples"]


def test_a_neutral_sample_in_train_is_refused(project: Project) -> None:
    splits = {row["sample_id"]: row["split"] for row in read_csv(project.data / "split" / "splits.csv")}
    path = project.data / "curate" / "samples.parquet"
    table = read_table(path)
    ids = table["sample_id"].to_pylist()
    train = next(name for name in ids if splits[name] == "train")
    status = pa.array(["neutral" if name == train else "keep" for name in ids], pa.string())
    write_table(path, table.set_column(table.column_names.index("status"), "status", status))
    assert failed(regate(project)) == ["unusable_samples"]


def test_a_test_label_that_a_rule_changed_is_refused(project: Project) -> None:
    splits = {row["sample_id"]: row["split"] for row in read_csv(project.data / "split" / "splits.csv")}
    path = project.data / "curate" / "ledger.csv"
    (row,) = read_csv(path)
    row |= {
        "sample_id": next(name for name, split in splits.items() if split == "test"),
        "rule": "label_errors",
    }
    write_csv(path, list(row), [list(row.values())])
    assert failed(regate(project)) == ["test_labels_by_rule"]


@pytest.mark.parametrize(
    ("bound", "gate"),
    [
        ({"max_ece": 1e-9}, "calibrated"),
        ({"require_human": True}, "human"),
        ({"min_slice_accuracy": 1.0}, "slices"),
        ({"min_slice_size": 10_000}, "slices"),
        ({"max_size_mb": 0.001}, "size"),
        ({"student_margin": 0.0}, "student_margin"),
    ],
)
def test_every_bound_can_refuse(project: Project, bound: dict[str, Any], gate: str) -> None:
    assert failed(regate(project, **bound)) == [gate]


def test_an_override_lets_the_seen_value_pass_and_stands_in_verdict_and_card(project: Project) -> None:
    seen = the("slices", regate(project, min_slice_accuracy=1.0))
    act = Override("slices", shown(seen["value"]), "owls are rare", "Ada", "2026-11-21")
    write_overrides(project.data / "review", [act])
    assert judge(project, min_slice_accuracy=1.0)["passed"] == 1
    verdict = read_json(project.data / "release" / "verdict.json")
    assert verdict["overridden"] == ["slices"]
    assert "overridden by Ada: owls are rare" in (project.payload / "README.md").read_text()


def test_an_override_of_another_value_changes_nothing(project: Project) -> None:
    other = Override("slices", "0.123", "owls are rare", "Ada", "2026-11-21")
    assert not regate(project, [other], min_slice_accuracy=1.0)["passed"]


def test_a_latency_beyond_the_bound_is_refused(project: Project) -> None:
    path = project.payload / "facts.json"
    record = read_json(path)
    record["facts"]["latency_within_bound"] = False
    write_json(path, record)
    assert failed(regate(project)) == ["latency"]


def test_the_scored_samples_are_the_frozen_val_and_test(project: Project) -> None:
    scored = read_scored(project.payload / "scored.parquet")
    assert set(scored.sample_ids) == {
        name
        for name, split in zip(project.run.sample_ids, project.run.split, strict=True)
        if split != "train"
    }
    recorded = read_table(project.data / "predict" / "predictions" / "student.parquet")
    by_id = dict(zip(recorded["sample_id"].to_pylist(), recorded["pred_probs"].to_pylist(), strict=True))
    expected = np.array([by_id[name] for name in scored.sample_ids])
    np.testing.assert_allclose(scored.pred_probs, expected, atol=1e-6)


def test_hostile_names_are_text_in_the_card(project: Project) -> None:
    card = (project.payload / "README.md").read_text()
    assert "# three \\*levels\\* of grey" in card
    assert "<b>" not in card
    assert "dog \\| &lt;b\\>" in card


def test_the_bill_lists_model_files_and_every_locked_library(project: Project) -> None:
    bill = json.loads((project.payload / "bom.cdx.json").read_text())
    names = {part["name"] for part in bill["components"]}
    locked = {
        line.split("==")[0]
        for line in (project.root / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    assert locked <= names
    assert {part["name"] for part in bill["metadata"]["component"]["components"]} == {
        "model.onnx",
        "model.safetensors",
    }
    assert "timestamp" not in bill["metadata"]
