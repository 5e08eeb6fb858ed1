"""Whatever is changed in a signed release is caught, offline, and nothing in it is believed or executed."""

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from stages.lib.artifacts import read_json, write_json
from stages.lib.errors import AssayError, InputError
from stages.lib.payload import AUDIT, CALIBRATION, CLAIMS, CLASSES, FACTS, ONNX, SIGNATURE, VERDICT, sha256_of
from stages.lib.rescoring import verify_with_data
from stages.lib.signing import PRIVATE, PUBLIC, make_key
from stages.lib.verification import Check, verify
from tests.release_fixture import Project, restate, sign_again

ROOT = Path(__file__).parents[1]


def wrong(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def caught(bundle: Path, public: Path) -> bool:
    """Say whether verification refuses, by a check or by an error of its own kind."""
    try:
        return bool(wrong(verify(bundle, public)))
    except AssayError:
        return True


def run_assay(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, far from any project."""
    command = [sys.executable, "-m", "stages.commands.main", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(cwd)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def forge(project: Project, change: Callable[[Path], None]) -> list[Check]:
    """Change the bundle, bring its audit in step and sign it with the trusted key; return what is found."""
    change(project.bundle)
    restate(project.bundle)
    sign_again(project.bundle, project.keys / PRIVATE)
    return verify(project.bundle, project.keys / PUBLIC)


def test_a_release_verifies_on_a_machine_without_the_project(project: Project, tmp_path: Path) -> None:
    away = tmp_path / "away"
    shutil.copytree(project.bundle, away / "sent")
    key = ["--key", str(project.keys / PUBLIC)]
    done = run_assay(away, "verify", "sent", *key, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["verified"]
    assert len(record["checks"]) == 9
    (away / "sent" / CLASSES).write_text("[]")
    done = run_assay(away, "verify", "sent", *key)
    assert (done.returncode, "NOT VERIFIED" in done.stdout) == (1, True)
    done = run_assay(away, "verify", "nothing", *key)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_without_a_trusted_key_nothing_is_judged(project: Project, tmp_path: Path) -> None:
    done = run_assay(tmp_path, "verify", str(project.bundle))
    assert done.returncode == 2
    assert "--key" in done.stderr


def test_reading_a_release_does_not_import_torch(signed: Project) -> None:
    code = (
        "import sys; from pathlib import Path; from stages.lib.verification import verify;"
        f"verify(Path({str(signed.bundle)!r}), Path({str(signed.keys / PUBLIC)!r}));"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def flip_random_bits(project: Project, times: int, seed: int) -> tuple[int, set[str]]:
    """Flip one bit, verify, flip it back; return how often it was caught, and in which files."""
    rng = np.random.default_rng(seed)
    files = sorted(project.bundle.iterdir())
    found, names = 0, set()
    for _ in range(times):
        path = files[rng.integers(len(files))]
        content = path.read_bytes()
        changed = bytearray(content)
        changed[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        found += caught(project.bundle, project.keys / PUBLIC)
        names.add(path.name)
        path.write_bytes(content)
    assert not caught(project.bundle, project.keys / PUBLIC)
    return found, names


def test_W11_every_flipped_bit_is_caught(project: Project) -> None:
    found, names = flip_random_bits(project, 200, seed=0)
    assert found == 200
    assert names == {path.name for path in project.bundle.iterdir()}


@pytest.mark.slow
def test_W11_every_one_of_a_thousand_flipped_bits_is_caught(project: Project) -> None:
    assert flip_random_bits(project, 1000, seed=1)[0] == 1000


@pytest.mark.parametrize("name", [SIGNATURE, AUDIT, ONNX, "model.safetensors"])
def test_W12_a_cut_file_is_caught(project: Project, name: str) -> None:
    content = (project.bundle / name).read_bytes()
    for kept in (0, 1, len(content) // 2, len(content) - 1):
        (project.bundle / name).write_bytes(content[:kept])
        assert caught(project.bundle, project.keys / PUBLIC), kept


def raise_accuracy(bundle: Path) -> None:
    """Raise the claimed accuracy wherever it is told."""
    record = read_json(bundle / CLAIMS)
    old = record["claims"]["test"]["top1_accuracy"]
    record["claims"]["test"]["top1_accuracy"] = 0.9999
    write_json(bundle / CLAIMS, record)
    facts = read_json(bundle / FACTS)
    facts["facts"]["evaluated_top1_accuracy"] = 0.9999
    write_json(bundle / FACTS, facts)
    card = bundle / "README.md"
    card.write_text(card.read_text().replace(str(old), "0.9999"))


def test_a_claim_that_is_raised_everywhere_is_caught_when_the_signature_is_the_old_one(
    project: Project,
) -> None:
    raise_accuracy(project.bundle)
    restate(project.bundle)
    assert wrong(verify(project.bundle, project.keys / PUBLIC)) == ["signature"]


def test_W13_a_claim_that_is_raised_everywhere_is_caught_when_another_key_signed(
    project: Project, tmp_path: Path
) -> None:
    raise_accuracy(project.bundle)
    restate(project.bundle)
    make_key(tmp_path / "other")
    sign_again(project.bundle, tmp_path / "other" / PRIVATE)
    assert wrong(verify(project.bundle, project.keys / PUBLIC)) == ["signature"]


def test_a_claim_that_its_own_makers_raise_does_not_follow_from_the_scored_samples(project: Project) -> None:
    assert "claims" in wrong(forge(project, raise_accuracy))


def set_temperature(bundle: Path) -> None:
    write_json(bundle / CALIBRATION, read_json(bundle / CALIBRATION) | {"temperature": 3.0})


def pass_a_failed_gate(bundle: Path) -> None:
    facts = read_json(bundle / FACTS)
    facts["facts"]["leaked_test_samples"] = 7
    write_json(bundle / FACTS, facts)


def set_nan(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    tensors = load_file(path)
    first = sorted(tensors)[0]
    tensors[first] = np.full_like(tensors[first], np.nan)
    save_file(tensors, path, {"assay": json.dumps({"classes": read_json(bundle / CLASSES)})})


def cut_weights(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def rename_a_class(bundle: Path) -> None:
    write_json(bundle / CLASSES, ["cat", "cow", "owl"])


def break_onnx(bundle: Path) -> None:
    (bundle / ONNX).write_bytes(b"\x08\x0a\x12\x00 no model")


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (set_temperature, "calibration"),
        (pass_a_failed_gate, "verdict"),
        (set_nan, "weights"),
        (cut_weights, "weights"),
        (rename_a_class, "weights"),
        (break_onnx, "onnx"),
    ],
)
def test_what_does_not_hold_together_is_caught_though_the_trusted_key_signed_it(
    project: Project, change: Callable[[Path], None], check: str
) -> None:
    assert check in wrong(forge(project, change))


class Canary:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_in_place_of_weights_is_refused_and_not_opened(project: Project, tmp_path: Path) -> None:
    canary = tmp_path / "opened"

    def put_pickle(bundle: Path) -> None:
        (bundle / "model.safetensors").write_bytes(pickle.dumps(Canary(canary)))

    assert "weights" in wrong(forge(project, put_pickle))
    assert wrong(verify_with_data(project.bundle, project.data)) == ["weights scored again"]
    assert not canary.exists()


def test_weights_of_another_architecture_are_refused(project: Project) -> None:
    def make_wider(bundle: Path) -> None:
        path = bundle / "model.safetensors"
        with safe_open(path, framework="numpy") as file:
            card = json.loads(file.metadata()["assay"])
        card["architecture"]["widths"] = [16, 16]
        save_file(load_file(path), path, {"assay": json.dumps(card)})

    forge(project, make_wider)
    assert "weights scored again" in wrong(verify_with_data(project.bundle, project.data))


@pytest.mark.parametrize("name", ["more.txt", "model.pkl", ".hidden", "folder"])
def test_W12_what_does_not_belong_is_refused(project: Project, name: str) -> None:
    stray = project.bundle / name
    stray.mkdir() if name == "folder" else stray.write_text("x")
    with pytest.raises(InputError, match="does not belong here"):
        verify(project.bundle, project.keys / PUBLIC)


def test_W12_a_link_out_of_the_bundle_is_not_followed(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    shutil.copyfile(project.bundle / CLASSES, outside)
    (project.bundle / CLASSES).unlink()
    (project.bundle / CLASSES).symlink_to(outside)
    with pytest.raises(InputError, match="not a regular file"):
        verify(project.bundle, project.keys / PUBLIC)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "classes.json/../x"])
def test_W12_a_statement_that_names_a_path_outside_is_caught(project: Project, name: str) -> None:
    audit = read_json(project.bundle / AUDIT)
    audit["subject"].append({"name": name, "digest": {"sha256": "0" * 64}})
    write_json(project.bundle / AUDIT, audit)
    sign_again(project.bundle, project.keys / PRIVATE)
    assert wrong(verify(project.bundle, project.keys / PUBLIC)) == ["digests"]


@pytest.mark.parametrize("content", [b"[]", b"{}", b"null", b"\xff\xfe", b"[" * 200_000])
@pytest.mark.parametrize("name", [AUDIT, CLAIMS, FACTS, VERDICT, CALIBRATION])
def test_a_record_of_another_form_is_a_wrong_check_and_no_traceback(
    project: Project, name: str, content: bytes
) -> None:
    (project.bundle / name).write_bytes(content)
    sign_again(project.bundle, project.keys / PRIVATE)
    assert wrong(verify(project.bundle, project.keys / PUBLIC))


def test_the_data_bear_out_a_sound_release(signed: Project) -> None:
    checks = verify_with_data(signed.bundle, signed.data)
    assert wrong(checks) == []
    assert len(checks) == 4


def test_other_weights_than_were_scored_are_caught_with_the_data(project: Project) -> None:
    def make_blunt(bundle: Path) -> None:
        path = bundle / "model.safetensors"
        tensors = load_file(path)
        with safe_open(path, framework="numpy") as file:
            card = file.metadata()
        save_file({name: 1.01 * value for name, value in tensors.items()}, path, card)

    forge(project, make_blunt)
    assert "weights scored again" in wrong(verify_with_data(project.bundle, project.data))


def test_another_test_set_is_named_with_a_sample(project: Project) -> None:
    path = project.data / "split" / "splits.csv"
    lines = path.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if ",train" in line)
    sample_id = lines[at].split(",")[0]
    lines[at] = lines[at].replace(",train", ",test")
    path.write_text("\n".join(lines) + "\n")
    (check,) = verify_with_data(project.bundle, project.data)
    assert (check.passed, sample_id in check.detail) == (False, True)


def test_a_record_that_was_changed_after_the_release_is_caught(project: Project) -> None:
    path = project.data / "preflight" / "checks.json"
    record = read_json(path)
    record["checks"][0]["passed"] = False
    write_json(path, record)
    assert wrong(verify_with_data(project.bundle, project.data)) == ["records"]


@pytest.mark.parametrize("change", ["delete", "empty", "swap", "case", "rename"])
@pytest.mark.parametrize("name", [CLASSES, AUDIT, SIGNATURE, ONNX, "model.safetensors"])
def test_W12_a_file_that_is_gone_empty_swapped_or_renamed_is_caught(
    project: Project, name: str, change: str
) -> None:
    path = project.bundle / name
    if change == "delete":
        path.unlink()
    elif change == "empty":
        path.write_bytes(b"")
    elif change == "swap":
        path.write_bytes((project.bundle / CLAIMS).read_bytes())
    else:
        path.rename(path.with_name(name.upper() if change == "case" else f"_{name}"))
    assert caught(project.bundle, project.keys / PUBLIC)


def edit_signature(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle / SIGNATURE
    record = json.loads(path.read_bytes())
    change(record)
    path.write_bytes(json.dumps(record, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["dsseEnvelope"]["signatures"].clear(),
        lambda record: record["dsseEnvelope"]["signatures"][0].update(sig=""),
        lambda record: record["dsseEnvelope"].update(payload=""),
        lambda record: record["dsseEnvelope"].update(payloadType="text/plain"),
        lambda record: record["verificationMaterial"]["publicKey"].update(hint="0" * 64),
        lambda record: record.update(mediaType="none"),
        lambda record: record.update(more=1),
        lambda record: record.clear(),
    ],
)
def test_W13_a_signature_in_another_form_does_not_hold(
    project: Project, change: Callable[[dict[str, Any]], None]
) -> None:
    edit_signature(project.bundle, change)
    assert wrong(verify(project.bundle, project.keys / PUBLIC)) == ["signature"]


def test_W14_files_of_two_sound_releases_do_not_mix(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(project.bundle, other)
    set_temperature(other)
    restate(other)
    sign_again(other, project.keys / PRIVATE)
    for name in (CALIBRATION, AUDIT, SIGNATURE):
        mixed = tmp_path / f"mixed-{name}"
        shutil.copytree(project.bundle, mixed)
        shutil.copyfile(other / name, mixed / name)
        assert wrong(verify(mixed, project.keys / PUBLIC)) == ["signature"]


def test_W14_an_older_release_is_not_the_successor_of_a_newer_one(project: Project, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(project.bundle, newer)
    audit = read_json(newer / AUDIT)
    audit["predicate"]["parent"] = sha256_of(project.bundle / AUDIT)
    write_json(newer / AUDIT, audit)
    sign_again(newer, project.keys / PRIVATE)
    key = ["--key", str(project.keys / PUBLIC)]
    done = run_assay(tmp_path, "verify", str(newer), "--after", str(project.bundle), *key)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run_assay(tmp_path, "verify", str(project.bundle), "--after", str(newer), *key)
    assert (done.returncode, "WRONG  succession" in done.stdout) == (1, True)
