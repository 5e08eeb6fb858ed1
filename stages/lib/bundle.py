"""From a payload to a signed bundle: the audit statement that says what it came from, and the signature.

`audit.json` is an in-toto statement (specification v1): its subjects are the payload's files, its predicate,
shaped as SLSA's provenance, says from which raw data, params, code, lock and stages they came, which gates
they passed, and which release came before. It holds no clock and no host name, so that two clones of one
commit make the same bundle but for the signature.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.lib.artifacts import read_json, write_json
from stages.lib.commit import changed_sources, head
from stages.lib.errors import InputError
from stages.lib.payload import AUDIT, CLAIMS, FACTS, SIGNATURE, VERDICT, files_of, sha256_of
from stages.lib.provenance import LOCK_FILE, key_of_lock_entry
from stages.lib.signing import sign
from stages.lib.yaml_file import read_yaml

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:assay:audit:1"
BUILD = "urn:assay:chain:1"
LOCKED_FILES = ("params.yaml", "dvc.yaml", "dvc.lock", "requirements.lock")
SHOWN = 10
NAME = "bundle"
"""The signature names the folder that was signed: the same for everybody."""


def make_bundle(
    payload: Path,
    bundle: Path,
    private: Path,
    parent: str | None,
    log: Mapping[str, Any],
    check: Callable[[Path], None],
) -> None:
    """Copy the payload, add the audit statement, sign; an older bundle in its place is replaced.

    `parent` is the digest of the release before, `log` the head of the log of releases.
    `check` sees the signed bundle before it is put in place, and raises where it is not to be.
    """
    files = files_of(payload, signed=False)
    workshop = bundle.with_name(f".{bundle.name}.new")
    shutil.rmtree(workshop, ignore_errors=True)
    staging = workshop / NAME
    staging.mkdir(parents=True)
    for name, path in files.items():
        shutil.copyfile(path, staging / name)
    write_json(staging / AUDIT, statement(staging, parent, log))
    sign(staging, private, workshop / SIGNATURE)
    (workshop / SIGNATURE).replace(staging / SIGNATURE)
    check(staging)
    shutil.rmtree(bundle, ignore_errors=True)
    staging.replace(bundle)
    workshop.rmdir()


def statement(folder: Path, parent: str | None, log: Mapping[str, Any]) -> dict[str, Any]:
    """Return the in-toto statement over the files in `folder`."""
    return {
        "_type": STATEMENT,
        "predicateType": PREDICATE,
        "subject": [
            {"name": path.name, "digest": {"sha256": sha256_of(path)}} for path in sorted(folder.iterdir())
        ],
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": read_yaml(Path("params.yaml")),
                "resolvedDependencies": dependencies(),
            },
            "stages": locked_stages(),
            "claims": read_json(folder / CLAIMS)["claims"],
            "facts": read_json(folder / FACTS)["facts"],
            "verdict": read_json(folder / VERDICT),
            "parent": parent,
            "log": dict(log),
        },
    }


def dependencies() -> list[dict[str, Any]]:
    """Return the code's commit, the locked files, and the raw data and records that the chain was given."""
    clean = not changed_sources()
    code = {"name": "code", "digest": {"gitCommit": head()}, "annotations": {"clean": clean}}
    files = [{"name": name, "digest": {"sha256": sha256_of(Path(name))}} for name in LOCKED_FILES]
    given = {
        dep["path"]: dep["md5"]
        for entry in _locked().values()
        for dep in entry.get("deps", [])
        if dep["path"] in ("data/raw", "data/review")
    }
    return [code, *files, *({"name": name, "digest": {"md5": given[name]}} for name in sorted(given))]


def locked_stages() -> dict[str, dict[str, Any]]:
    """Return every stage's key, command and the digests of its outputs, from dvc.lock."""
    return {
        name: {
            "key": key_of_lock_entry(entry),
            "command": entry["cmd"],
            "outputs": {out["path"]: out["md5"] for out in entry.get("outs", [])},
        }
        for name, entry in sorted(_locked().items())
    }


def _locked() -> Mapping[str, Any]:
    if not LOCK_FILE.exists():
        raise InputError(f"{LOCK_FILE} is not there: `make repro` writes it")
    stages: Mapping[str, Any] = read_yaml(LOCK_FILE)["stages"]
    return stages


def refuse_changed_sources() -> None:
    """Raise InputError when code, params or inputs differ from the commit: it would not say what was run."""
    changed = changed_sources()
    if not head():
        raise InputError(
            "this folder is no git repository with a commit: a release names the commit it came from"
        )
    if changed:
        more = f"\n  … and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        listed = "\n  ".join(changed[:SHOWN])
        raise InputError(
            f"{len(changed)} source file(s) differ from the commit, which would not say what was run; "
            f"commit them first\n  {listed}{more}"
        )
