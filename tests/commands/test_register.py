"""MLflow's model registry names releases; what it hands out is judged against the signature all the same."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stages.commands.register import register_bundle
from stages.lib.artifacts import read_json, write_json
from stages.lib.classifier import NOT_SURE, open_classifier, reader
from stages.lib.errors import InputError, MachineError
from stages.lib.gates import judge, shown
from stages.lib.image_store import encode_png
from stages.lib.mirror import Mirror
from stages.lib.overrides import Override
from stages.lib.payload import AUDIT, CALIBRATION, CLAIMS, FACTS, ONNX, VERDICT, sha256_of
from stages.lib.registry import AUDIT_TAG, CHAMPION, Registered, registry_name
from stages.lib.signing import KEY_VARIABLE, PRIVATE, PUBLIC
from tests.commands.test_predict_and_serve import scored_images
from tests.mlflow_server import mlflow_server
from tests.release_fixture import Project, restate, sign_again

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own warnings are not ours

NAME = "three *levels* of grey"


@pytest.fixture(scope="module")
def tracker_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(tracker_folder: Path) -> Iterator[str]:
    with mlflow_server(tracker_folder) as server:
        yield server.url


@pytest.fixture
def team(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A team's tracker, MLflow's server on loopback, and a name in its registry that only this test uses."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served)
    monkeypatch.chdir(tmp_path)
    return tmp_path.name


def registered(signed: Project, name: str, bundle: Path | None = None) -> Registered:
    return register_bundle(bundle or signed.bundle, name, signed.keys / PUBLIC)


def load(name: str) -> Any:
    from mlflow import pyfunc

    return pyfunc.load_model(f"models:/{name}@{CHAMPION}")


def versions(name: str, root: Path) -> list[Any]:
    return list(Mirror.open(root).client.search_model_versions(f"name='{name}'"))


def successor(signed: Project, place: Path) -> Path:
    """A later release of the same model, as its claims and its signature go."""
    bundle = Path(shutil.copytree(signed.bundle, place / "successor"))
    audit = read_json(bundle / AUDIT)
    audit["predicate"]["parent"] = sha256_of(signed.bundle / AUDIT)
    write_json(bundle / AUDIT, audit)
    sign_again(bundle, signed.keys / PRIVATE)
    return bundle


def overridden(signed: Project, place: Path) -> Path:
    """A release one of whose gates was let pass by somebody."""
    bundle = Path(shutil.copytree(signed.bundle, place / "overridden"))
    facts, claims = read_json(bundle / FACTS), read_json(bundle / CLAIMS)["claims"]
    facts["bounds"]["max_size_mb"] = 0.000001
    gates = judge(claims, facts["facts"], facts["bounds"], ())["gates"]
    seen = next(gate for gate in gates if gate["name"] == "size")
    act = Override("size", shown(seen["value"]), "it is for a server", "Ada", "2026-11-21")
    write_json(bundle / FACTS, facts)
    write_json(bundle / VERDICT, judge(claims, facts["facts"], facts["bounds"], (act,)))
    restate(bundle)
    sign_again(bundle, signed.keys / PRIVATE)
    return bundle


@pytest.mark.parametrize("place", [pytest.param("file", marks=pytest.mark.slow), "server"])
def test_a_registered_model_answers_as_assay_predict_does_abstention_included(
    signed: Project, team: str, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "file":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    done = registered(signed, "")
    assert (done.name, done.version, done.new, done.champion) == (NAME, 1, True, 1)
    images, _ = scored_images(signed, 70)
    contents = [*(encode_png(image[..., 0]) for image in images), b"no image"]
    monkeypatch.setenv(KEY_VARIABLE, str(signed.keys / PUBLIC))
    found = load(NAME).predict(pd.DataFrame({"image": contents}))
    paths = [tmp_path / f"{number:03}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    with open_classifier(signed.bundle) as classifier:
        told = list(classifier.answers((path.name, reader(path)) for path in paths))
    for column in ("answer", "best", "refused"):
        assert found[column].tolist() == [getattr(answer, column) for answer in told]
    assert max(abs(found["confidence"] - [answer.confidence for answer in told])) <= 1e-6
    assert NOT_SURE in found["answer"].tolist(), "the fixture has doubtful images"
    assert found["refused"].iloc[-1].startswith("not_an_image")


def test_the_version_carries_the_digests_and_registering_again_adds_none(
    signed: Project, team: str, tmp_path: Path
) -> None:
    registered(signed, team)
    again = registered(signed, team)
    assert (again.version, again.new, again.champion) == (1, False, 1)
    (version,) = versions(team, tmp_path)
    assert version.tags[AUDIT_TAG] == sha256_of(signed.bundle / AUDIT)
    assert {name for name in version.tags if name.startswith("assay.sha256.")} == {
        f"assay.sha256.{path.name}" for path in signed.bundle.iterdir()
    }
    assert version.tags["assay.sha256.model.onnx"] == sha256_of(signed.bundle / ONNX)
    assert version.tags["assay.overridden_gates"] == "none"


def test_a_name_with_quotation_marks_is_registered_once_too(signed: Project, team: str) -> None:
    name = f'Ada\'s "owls" {team}'
    assert registered(signed, name).new
    again = registered(signed, name)
    assert (again.name, again.version, again.new) == (name, 1, False)


def test_the_alias_moves_forward_with_releases_that_passed_and_with_no_others(
    signed: Project, team: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    let_pass = overridden(signed, tmp_path)
    assert registered(signed, team, let_pass).champion is None
    assert "a gate of this release was overridden" in capsys.readouterr().err
    assert registered(signed, team).champion == 2
    assert registered(signed, team, successor(signed, tmp_path)).champion == 3
    assert registered(signed, team).champion == 3
    assert "stays on version 3, which is newer" in capsys.readouterr().err
    assert registered(signed, team, let_pass).champion == 3


def test_a_killed_registration_is_completed_by_the_next(
    signed: Project, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def dead(*_: object) -> None:
        raise ConnectionError("the tracker went away")

    with monkeypatch.context() as context:
        context.setattr(MlflowClient, "set_registered_model_alias", dead)
        with pytest.raises(MachineError, match="the tracker went away; run it again"):
            registered(signed, team)
    done = registered(signed, team)
    assert (done.version, done.new, done.champion) == (1, False, 1)


def test_a_bundle_that_was_changed_in_the_registry_is_not_loaded(
    signed: Project, team: str, tmp_path: Path, tracker_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(signed, team)
    monkeypatch.setenv(KEY_VARIABLE, str(signed.keys / PUBLIC))
    (version,) = versions(team, tmp_path)
    (place,) = tracker_folder.glob(f"artifacts/**/{version.source.removeprefix('models:/')}/**/{CALIBRATION}")
    write_json(place, read_json(place) | {"abstain_below": 0.0})
    with pytest.raises(InputError, match="cannot be trusted: signature"):
        load(team)


def test_nothing_is_loaded_or_registered_without_a_key_that_is_trusted(signed: Project, team: str) -> None:
    with pytest.raises(InputError, match="name the public key"):
        register_bundle(signed.bundle, team, None)
    registered(signed, team)
    with pytest.raises(InputError, match=f"or in {KEY_VARIABLE}"):
        load(team)


def test_what_does_not_verify_is_not_registered(signed: Project, team: str, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(signed.bundle, tmp_path / "changed"))
    (bundle / "README.md").write_text("better than it is")
    with pytest.raises(InputError, match="cannot be trusted"):
        registered(signed, team, bundle)
    assert versions(team, tmp_path) == []


def test_a_tracker_that_is_not_there_is_one_readable_line_without_its_password(
    signed: Project, team: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:secret@127.0.0.1:9")
    with pytest.raises(MachineError) as told:
        registered(signed, team)
    assert str(told.value).startswith("http://…@127.0.0.1:9: ")
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "kept"), [("digits", "digits"), ("a/b:c", "a_b_c"), ("..", "_"), (" ", "model"), ("ü *", "ü *")]
)
def test_a_release_has_a_name_that_mlflow_takes(name: str, kept: str) -> None:
    assert registry_name(name) == kept


def test_a_name_that_mlflow_refuses_is_refused_before_it_is_asked(signed: Project) -> None:
    with pytest.raises(InputError, match="no `/`, no `:`"):
        register_bundle(signed.bundle, "a/b", signed.keys / PUBLIC)
