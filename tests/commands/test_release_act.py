"""Signing is an act: of a passed verdict, a committed tree, in somebody's name."""

import contextlib
import stat
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stages.commands.main import app
from stages.commands.release import (
    RefusedError,
    holds_payload,
    is_recorded,
    override,
    release,
    release_after_run,
    unlogged_overrides,
)
from stages.lib.artifacts import read_csv, read_json, write_json
from stages.lib.errors import InputError
from stages.lib.overrides import read_overrides
from stages.lib.payload import AUDIT, SIGNATURE, sha256_of
from stages.lib.release_log import LOG, read_log
from stages.lib.signing import PRIVATE, PUBLIC, check_signature, own_key, own_public_key
from tests.release_fixture import Project, sign


def fail_gate(project: Project, name: str, value: object, act: dict[str, str] | None = None) -> None:
    path = project.data / "release" / "verdict.json"
    verdict = read_json(path)
    for gate in verdict["gates"]:
        if gate["name"] == name:
            gate |= {"passed": False, "value": value, "override": act}
    write_json(path, verdict | {"passed": act is not None})


def predicate(bundle: Path) -> dict[str, object]:
    return dict(read_json(bundle / AUDIT)["predicate"])


def test_a_refused_model_is_not_signed_and_the_gate_is_named(project: Project) -> None:
    fail_gate(project, "slices", 0.4)
    with pytest.raises(RefusedError, match=r"1 gate\(s\).*\n.*slices: 0.4"):
        sign(project)


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "requirements.lock", "data/review/new.csv"])
def test_a_tree_that_differs_from_the_commit_is_not_signed(project: Project, name: str) -> None:
    with (project.root / name).open("a") as file:
        file.write("\n# changed\n")
    with pytest.raises(InputError, match=r"1 source file\(s\) differ") as refused:
        sign(project)
    assert name in str(refused.value)


def test_the_statement_names_the_commit_the_inputs_and_the_parent(project: Project, tmp_path: Path) -> None:
    project.bundle.rename(tmp_path / "parent")
    with contextlib.chdir(project.root):
        release(project.keys / PRIVATE, tmp_path / "parent")
    said = predicate(project.bundle)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=project.root, capture_output=True, text=True, check=True
    )
    build = said["buildDefinition"]
    assert isinstance(build, dict)
    given = {item["name"]: item["digest"] for item in build["resolvedDependencies"]}
    assert given["code"] == {"gitCommit": commit.stdout.strip()}
    assert given["params.yaml"] == {"sha256": sha256_of(project.root / "params.yaml")}
    assert given["data/raw"] == {"md5": "1" * 32}
    assert said["parent"] == sha256_of(tmp_path / "parent" / AUDIT)


def test_two_clones_sign_the_same_bundle_but_for_the_signature(project: Project, tmp_path: Path) -> None:
    clone = Project(tmp_path / "clone" / "project", project.run)
    subprocess.run(["git", "clone", "-q", str(project.root), str(clone.root)], check=True)
    assert not clone.bundle.exists()
    sign(clone)
    names = {path.name for path in project.bundle.iterdir()}
    assert {path.name for path in clone.bundle.iterdir()} == names
    differ = {name for name in names if sha256_of(project.bundle / name) != sha256_of(clone.bundle / name)}
    assert differ == {SIGNATURE}
    assert check_signature(clone.bundle, own_public_key()) == ""
    assert check_signature(clone.bundle, project.keys / PUBLIC) != ""


def test_W16_what_does_not_load_in_a_clean_process_is_not_put_in_place(project: Project) -> None:
    before = sha256_of(project.bundle / SIGNATURE)
    (project.payload / "model.onnx").write_bytes(b"\x08\x0a no model")
    with pytest.raises(InputError, match=r"(?s)does not verify in a clean process.*WRONG  onnx"):
        sign(project, project.keys / PRIVATE)
    assert sha256_of(project.bundle / SIGNATURE) == before


def test_the_private_key_is_its_owners_alone_and_is_made_once() -> None:
    key = own_key()
    content = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert own_key().read_bytes() == content


def test_a_key_of_another_kind_is_refused_in_one_line(project: Project, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(InputError, match="cannot sign with this key"):
        sign(project, tmp_path / "key.pem")
    assert check_signature(project.bundle, project.keys / PUBLIC) == ""


def test_an_override_is_recorded_for_the_value_that_was_seen(project: Project) -> None:
    fail_gate(project, "slices", 0.4)
    with contextlib.chdir(project.root):
        override("slices", "owls are rare", "Ada")
    (row,) = read_csv(project.data / "review" / "overrides.csv")
    assert {key: row[key] for key in ("gate", "value", "reason", "by")} == {
        "gate": "slices",
        "value": "0.4",
        "reason": "owls are rare",
        "by": "Ada",
    }


@pytest.mark.parametrize(
    ("gate", "value", "reason", "by", "told"),
    [
        ("slice", 0.4, "r", "b", "there is no gate 'slice'"),
        ("size", 0.4, "r", "b", "passed: there is nothing to override"),
        ("slices", None, "r", "b", "what was not checked cannot be vouched for"),
        ("slices", 0.4, " ", "b", "needs --reason and --by"),
        ("slices", 0.4, "r", "", "needs --reason and --by"),
    ],
)
def test_an_override_that_vouches_for_nothing_is_refused(
    project: Project, gate: str, value: object, reason: str, by: str, told: str
) -> None:
    fail_gate(project, "slices", value)
    with contextlib.chdir(project.root), pytest.raises(InputError, match=told):
        override(gate, reason, by)
    assert not (project.data / "review" / "overrides.csv").exists()


def test_a_version_that_is_none_is_refused_before_anything_is_signed(project: Project) -> None:
    log = project.root / LOG
    before = sha256_of(project.bundle / SIGNATURE), log.read_bytes()
    arguments = ["release", "--key", str(project.keys / PRIVATE), "--tag", "bad"]
    with contextlib.chdir(project.root):
        refused = CliRunner().invoke(app, arguments)
    assert isinstance(refused.exception, InputError)
    assert (sha256_of(project.bundle / SIGNATURE), log.read_bytes()) == before


def test_W17_an_override_that_was_written_by_hand_is_not_signed_until_the_log_has_it(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand = {"reason": "it is for a server", "by": "Ada", "when": "2026-11-21"}
    fail_gate(project, "size", 31.5, by_hand)
    with contextlib.chdir(project.root):
        with pytest.raises(InputError, match="no line for the override of size: record it with `assay rele"):
            release(project.keys / PRIVATE)
        release_after_run()
        assert "not signed: data/release/log.jsonl has no line" in capsys.readouterr().err
        override("size", by_hand["reason"], by_hand["by"])
        recorded = read_overrides(project.data / "review")[-1]
        fail_gate(project, "size", 31.5, by_hand | {"when": recorded.when})
        assert unlogged_overrides(read_json(project.data / "release" / "verdict.json"), read_log()) == []


def test_after_a_run_an_unchanged_bundle_stays_and_a_changed_tree_waits_for_its_commit(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in project.bundle.iterdir()}
    with contextlib.chdir(project.root):
        release_after_run()
        assert before == {
            path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in project.bundle.iterdir()
        }
        (project.bundle / SIGNATURE).unlink()
        params = project.root / "params.yaml"
        params.write_text(params.read_text() + "# changed\n")
        release_after_run()
        assert "not signed, because sources differ" in capsys.readouterr().err
        project.git("commit", "-q", "-a", "-m", "Changed")
        assert not holds_payload(project.bundle)
        logged = LOG.read_bytes()
        release_after_run()
        assert holds_payload(project.bundle)
        assert LOG.read_bytes() == logged  # nobody released it by name
        LOG.unlink()
        assert not is_recorded()
        release(project.keys / PRIVATE)
        assert is_recorded()
