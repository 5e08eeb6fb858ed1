"""A signed release as DVC and GTO find it: an annotated tag `model@v1.2.0` on a commit that holds the bundle.

The bundle is no output of the chain (signatures are not the same twice), and a pointer to it on the branch
would make every clone that lacks it fail in `dvc repro`. So the tag stands on a commit of its own, beside the
branch: the commit that was released, and one file more, `data/release/bundle.dvc`.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from stages.lib.artifacts import read_json
from stages.lib.errors import InputError, MachineError
from stages.lib.payload import AUDIT, sha256_of
from stages.lib.stored_outputs import Store, cache_of, open_repo

ARTIFACT = "model"
"""Its name in `artifacts:` of dvc.yaml."""

POINTER = "data/release/bundle.dvc"
VERSION = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def tag_release(bundle: Path, version: str) -> str:
    """Put the bundle into DVC's cache and tag it; return the tag.

    InputError where the version is none, exists, or does not follow the newest.
    """
    tag = f"{ARTIFACT}@{version}"
    refuse_version(version, versions())
    audit = read_json(bundle / AUDIT)["predicate"]
    released = audit["buildDefinition"]["resolvedDependencies"][0]["digest"]["gitCommit"]
    with open_repo() as repo:
        pointer = store(bundle, cache_of(repo))
    text = _message(tag, audit, sha256_of(bundle / AUDIT))
    commit = _commit_beside(released, pointer, text)
    _git("tag", "--annotate", "--message", text, tag, commit)
    return tag


def refuse_version(version: str, known: Mapping[str, tuple[int, ...]]) -> None:
    """Raise InputError unless `version` is vMAJOR.MINOR.PATCH above all that are known."""
    if not VERSION.fullmatch(version):
        raise InputError(f"--tag {version}: a version is written v1.2.0")
    newest = max(known, key=lambda name: known[name], default=None)
    if newest is not None and number(version) <= known[newest]:
        raise InputError(f"--tag {version}: {newest} is released already, so the next is above it")


def versions() -> dict[str, tuple[int, ...]]:
    """Return the released versions that git's tags name, as numbers that compare."""
    names = [tag.removeprefix(f"{ARTIFACT}@") for tag in _git("tag", "--list", f"{ARTIFACT}@v*").splitlines()]
    return {name: number(name) for name in names if VERSION.fullmatch(name)}


def number(version: str) -> tuple[int, ...]:
    """Return v1.10.0 as (1, 10, 0)."""
    return tuple(int(part) for part in version[1:].split("."))


def store(bundle: Path, cache: Store) -> str:
    """Copy the bundle into the cache as DVC keeps a folder; return the text of the file that points at it."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.transfer import transfer
    from dvc_objects.fs.local import localfs

    staging, meta, tree = build(cache.odb, str(bundle.absolute()), localfs, "md5")
    if transfer(staging, cache.odb, {tree.hash_info}, shallow=False).failed:
        raise MachineError(f"{bundle} could not be copied into DVC's cache")
    out = {"md5": tree.hash_info.value, "size": meta.size, "nfiles": meta.nfiles, "hash": "md5"}
    return yaml.safe_dump({"outs": [out | {"path": bundle.name}]}, sort_keys=False)


def released_objects() -> set[str]:
    """Return the object ids of every tagged bundle."""
    found = set()
    for version in versions():
        pointer = yaml.safe_load(_git("show", f"{ARTIFACT}@{version}:{POINTER}", missing=""))
        if pointer:
            found.add(str(pointer["outs"][0]["md5"]))
    return found


def _message(tag: str, audit: Mapping[str, object], digest: str) -> str:
    claims, verdict = audit["claims"], audit["verdict"]
    assert isinstance(claims, Mapping)
    assert isinstance(verdict, Mapping)
    overridden = [gate["name"] for gate in verdict["gates"] if gate["override"] is not None]
    lines = [f"top-1 accuracy {claims['test']['top1_accuracy']:.4f} on {claims['test']['n']} test images"]
    lines += [f"gates overridden: {', '.join(overridden)}"] if overridden else []
    return "\n".join([f"Release {tag}", "", *lines, f"{AUDIT} sha256 {digest}"])


def _commit_beside(parent: str, pointer: str, text: str) -> str:
    """Make a commit of `parent` and the pointer, without touching branch, index or files."""
    blob = _git("hash-object", "-w", "--stdin", given=pointer)
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git("read-tree", parent, environment=index)
        _git("update-index", "--add", "--cacheinfo", f"100644,{blob},{POINTER}", environment=index)
        tree = _git("write-tree", environment=index)
    return _git("commit-tree", tree, "-p", parent, "-m", text)


def _git(
    *arguments: str, given: str = "", environment: Mapping[str, str] | None = None, missing: str | None = None
) -> str:
    """Run git; its output, or `missing` where it fails; MachineError where it may not fail."""
    done = subprocess.run(
        ["git", *arguments],
        input=given,
        env=os.environ | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout.strip("\n")
    if missing is not None:
        return missing
    raise MachineError(f"git {arguments[0]} failed: {done.stderr.strip()}")
