"""Releases in MLflow's model registry: one version a bundle, found again by its audit statement's digest.

The registry points people at a release; it vouches for nothing. Tags are for reading and searching, and what
is loaded is verified against the signature (`lib/registered_model.py`).
"""

import os
import re
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.lib.artifacts import read_json
from stages.lib.mirror import Mirror
from stages.lib.payload import AUDIT, files_of, sha256_of
from stages.lib.registered_model import ANSWER_COLUMNS, IMAGE
from stages.lib.signing import fingerprint

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature

CHAMPION = "champion"
AUDIT_TAG = "assay.audit_sha256"
LOADER = "stages.lib.registered_model"
NEEDED = ("mlflow", "model-signing", "numpy", "onnxruntime", "pandas", "pillow", "pyarrow", "pyopenssl")
"""What loading needs beside Assay itself, which nobody should install by name from a public index."""

SECONDS = "60"
"""A model is larger than a metric: the tracker gets longer for it than the mirror grants."""


@dataclass(frozen=True)
class Registered:
    """What became of a bundle. new: whether its version was made now; champion: the alias's version."""

    name: str
    version: int
    new: bool
    champion: int | None
    was_champion: int | None


@dataclass(frozen=True)
class Release:
    """What the registry is told of a bundle. passed: whether every gate passed, none by override."""

    name: str
    passed: bool
    stage_key: str
    description: str
    tags: Mapping[str, str]


def release_of(bundle: Path, public: Path) -> Release:
    """Read what the registry is told from a bundle that was verified against `public`."""
    predicate = read_json(bundle / AUDIT)["predicate"]
    overridden = [gate["name"] for gate in predicate["verdict"]["gates"] if gate["override"] is not None]
    test = predicate["claims"]["test"]
    code = predicate["buildDefinition"]["resolvedDependencies"][0]["digest"]["gitCommit"]
    tags = {
        AUDIT_TAG: sha256_of(bundle / AUDIT),
        "assay.parent_audit_sha256": predicate["parent"] or "none",
        "assay.key_fingerprint": fingerprint(public),
        "assay.git_commit": code,
        "assay.overridden_gates": ", ".join(overridden) or "none",
        "assay.test_top1_accuracy": str(test["top1_accuracy"]),
        "assay.test_n": str(test["n"]),
    }
    tags |= {f"assay.sha256.{name}": sha256_of(path) for name, path in files_of(bundle, signed=True).items()}
    return Release(
        registry_name(predicate["buildDefinition"]["externalParameters"]["release"]["name"]),
        not overridden,
        predicate["stages"].get("release", {}).get("key", ""),
        f"Test top-1 accuracy {test['top1_accuracy']:.4f} on {test['n']} images; commit {code[:12]}; "
        f"signed by {tags['assay.key_fingerprint'][:16]}",
        tags,
    )


def registry_name(name: str) -> str:
    """Return a model's name with what MLflow refuses in it (`/`, `:`, dots alone) replaced."""
    return re.sub(r"[/:\x00-\x1f]|^\.+$", "_", name).strip() or "model"


def register(root: Path, bundle: Path, release: Release, name: str) -> Registered:
    """Make a version of the bundle unless there is one, and move the alias if it has earned that.

    The alias goes to a release whose gates all passed, and only forward: who wants an older one back says so
    in MLflow itself, by name.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", SECONDS)
    mirror = Mirror.open(root)
    client = mirror.client
    known = _version_of(mirror, name, release)
    version = known or _new_version(mirror, bundle, release, name)
    number = int(version.version)
    holder = client.get_registered_model(name).aliases.get(CHAMPION)
    before = int(holder) if holder is not None else None
    moves = release.passed and (before is None or before < number)
    if moves:
        client.set_registered_model_alias(name, CHAMPION, str(number))
    return Registered(name, number, known is None, number if moves else before, before)


def _version_of(mirror: Mirror, name: str, release: Release) -> "ModelVersion | None":
    # Looked for by digest: MLflow's filters have no way to write a name with a quotation mark in it.
    found = mirror.client.search_model_versions(f"tags.`{AUDIT_TAG}` = '{release.tags[AUDIT_TAG]}'")
    same = [item for item in found if item.name == name]
    return min(same, key=lambda item: int(item.version)) if same else None


def _new_version(mirror: Mirror, bundle: Path, release: Release, name: str) -> "ModelVersion":
    from mlflow.exceptions import MlflowException

    client = mirror.client
    runs = mirror.find("release", release.stage_key) if release.stage_key else []
    run_id = str(runs[0].info.run_id) if runs else None
    logged = client.create_logged_model(mirror.experiment_id, "release", run_id, dict(release.tags))
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        place = Path(folder) / "model"
        save_model(place, bundle, model_id=logged.model_id, run_id=run_id)
        client.log_model_artifacts(logged.model_id, str(place))
    client.finalize_logged_model(logged.model_id, "READY")
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(
        name,
        f"models:/{logged.model_id}",
        run_id=run_id,
        tags=dict(release.tags),
        description=release.description,
        model_id=logged.model_id,
    )


def save_model(place: Path, bundle: Path, **about: Any) -> None:
    """Write a bundle as a model in MLflow's format, without pickle and without code of ours."""
    from mlflow import pyfunc
    from mlflow.models import Model

    with warnings.catch_warnings():
        # The input is one column of bytes: an example would say nothing that the signature does not.
        warnings.filterwarnings("ignore", message=".*input example was not provided", category=UserWarning)
        pyfunc.save_model(
            place,
            loader_module=LOADER,
            data_path=str(bundle),
            mlflow_model=Model(model_uuid=about.get("model_id"), **about),
            signature=_signature(),
            pip_requirements=[f"{name}=={installed(name)}" for name in NEEDED],
        )


def _signature() -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    kinds = {"confidence": DataType.double}
    answers = Schema([ColSpec(kinds.get(name, DataType.string), name) for name in ANSWER_COLUMNS])
    return ModelSignature(Schema([ColSpec(DataType.binary, IMAGE)]), answers)
