"""Make the signed bundle from a payload that passed its gates; override a gate; refuse in one message.

The stage `release` judges; this is the act of vouching: it names the commit, signs, and is the only thing
that turns `data/release/payload` into `data/release/bundle`.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages.lib.artifacts import read_json
from stages.lib.bundle import make_bundle, refuse_changed_sources
from stages.lib.commit import changed_sources, head
from stages.lib.errors import AssayError, InputError
from stages.lib.gates import shown
from stages.lib.overrides import FILE, Override, read_overrides, write_overrides
from stages.lib.payload import AUDIT, SIGNATURE, VERDICT, digest_of, files_of, sha256_of
from stages.lib.progress import say
from stages.lib.release_log import LOG, entries, read_log, with_act, write_log
from stages.lib.release_log import head as log_head
from stages.lib.release_tag import refuse_version, tag_release, versions
from stages.lib.signing import PUBLIC, fingerprint, own_key, own_public_key, write_public_half

RELEASE, REVIEW = Path("data/release"), Path("data/review")
PAYLOAD, BUNDLE = RELEASE / "payload", RELEASE / "bundle"


class RefusedError(AssayError):
    """The gates do not let this model pass."""


def release(private: Path | None = None, parent: Path | None = None, *, recorded: bool = True) -> None:
    """Sign the payload into a bundle, with this clone's own key or with `private`, and record it in the log.

    `parent` is the bundle of the release before. What nobody asked for by name is not `recorded`: every clone
    signs what it made. RefusedError names the gates that failed; InputError asks for a run, or for a commit.
    """
    verdict, known = _verdict(), read_log()
    failed = [gate for gate in verdict["gates"] if not gate["passed"] and gate["override"] is None]
    if failed:
        lines = [
            f"  {gate['name']}: {shown(gate['value'])}, asked {gate['bound']}; {gate['why']}"
            for gate in failed
        ]
        raise RefusedError(f"{len(failed)} gate(s) stand against a release\n" + "\n".join(lines))
    if unlogged := unlogged_overrides(verdict, known):
        raise InputError(
            f"{LOG} has no line for the override of {', '.join(unlogged)}: record it with `assay release "
            f"--override {unlogged[0]} --reason … --by …`, commit, and run `make repro`"
        )
    refuse_changed_sources()
    digest = sha256_of(files_of(parent, signed=True)[AUDIT]) if parent else None
    signer = private or own_key()
    act = {"act": "release", "commit": head(), "payload": digest_of(PAYLOAD), "parent": digest}
    overridden = [gate["name"] for gate in verdict["gates"] if gate["override"] is not None]
    log = with_act(known, act | {"overridden": overridden}) if recorded else known
    make_bundle(PAYLOAD, BUNDLE, signer, digest, log_head(log), lambda made: refuse_unverified(made, signer))
    if recorded:
        write_log(log)
    say(f"signed   {BUNDLE}" + (f"; commit {LOG}" if recorded else ""))
    if private is None:
        public = own_public_key()
        say(f"key      {public}, fingerprint {fingerprint(public)}: give it to those who are to check")


def unlogged_overrides(verdict: Mapping[str, Any], log: Sequence[str]) -> list[str]:
    """Return the gates that the verdict lets pass by an override of which the log has no line.

    A row that was written by hand passes the gate all the same, and would stand in no log.
    """
    names = ("gate", "value", "reason", "by", "when")
    logged = [tuple(entry[name] for name in names) for entry in entries(log) if entry["act"] == "override"]
    return [
        gate["name"]
        for gate in verdict["gates"]
        if (act := gate["override"]) is not None
        and (gate["name"], shown(gate["value"]), act["reason"], act["by"], act["when"]) not in logged
    ]


def tag(version: str, private: Path | None = None, parent: Path | None = None) -> None:
    """Sign unless the payload at hand is signed and recorded already, then tag the bundle for GTO and DVC.

    Who names a key or a parent wants it signed so. A version that cannot be is refused first of all.
    """
    refuse_version(version, versions())
    if private or parent or not (holds_payload(BUNDLE) and is_recorded()):
        release(private, parent)
    say(f"tagged   {tag_release(BUNDLE, version)}: share it with `assay push` and `git push --tags`")


def refuse_unverified(bundle: Path, private: Path) -> None:
    """Verify what was just signed as a stranger would, in a process of its own; InputError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        public = Path(folder) / PUBLIC
        write_public_half(private, public)
        command = [sys.executable, "-m", "stages.commands.main", "verify", str(bundle.resolve())]
        code = Path(__file__).parents[2]
        done = subprocess.run(
            [*command, "--key", str(public)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(code)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise InputError(
            "what was signed does not verify in a clean process, so it was not put in place\n"
            + (done.stdout + done.stderr).rstrip()
        )


def release_after_run() -> None:
    """Sign what the chain has made, if its gates are passed and its sources are committed; else say why."""
    path = RELEASE / VERDICT
    if not path.exists():
        return
    if not _verdict()["passed"]:
        say(f"release  refused by its gates: {path}")
    elif unlogged := unlogged_overrides(_verdict(), read_log()):
        say(f"release  not signed: {LOG} has no line for the override of {', '.join(unlogged)}")
    elif holds_payload(BUNDLE):
        say(f"release  {BUNDLE}")
    elif changed_sources():
        say("release  not signed, because sources differ from the commit: commit, then `assay release`")
    else:
        release(recorded=False)


def is_recorded() -> bool:
    """Say whether the log has a release of the payload at hand."""
    payload = digest_of(PAYLOAD)
    return any(entry["act"] == "release" and entry["payload"] == payload for entry in entries(read_log()))


def holds_payload(bundle: Path) -> bool:
    """Say whether a signed bundle is there and is of the payload at hand."""
    names = files_of(PAYLOAD, signed=False)
    if not all((bundle / name).is_file() for name in (*names, AUDIT, SIGNATURE)):
        return False
    return digest_of(PAYLOAD) == digest_of(bundle, names)


def override(gate: str, reason: str, by: str) -> None:
    """Record that `by` lets a release pass although `gate` failed with the value at hand."""
    found = {item["name"]: item for item in _verdict()["gates"]}
    if gate not in found:
        raise InputError(f"there is no gate {gate!r}; the gates are {', '.join(found)}")
    seen = found[gate]
    if seen["passed"]:
        raise InputError(f"gate {gate} passed: there is nothing to override")
    if seen["value"] is None:
        raise InputError(
            f"gate {gate} has no record ({seen['why']}): what was not checked cannot be vouched for"
        )
    if not reason.strip() or not by.strip():
        raise InputError("an override needs --reason and --by: it stands in the release for good")
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    act = Override(gate, shown(seen["value"]), reason.strip(), by.strip(), when)
    log = with_act(read_log(), {"act": "override", **asdict(act)})
    write_overrides(REVIEW, [*read_overrides(REVIEW), act])
    write_log(log)
    say(f"{REVIEW / FILE}: {gate} = {act.value} is let pass by {act.by}; commit it and run `make repro`")


def _verdict() -> dict[str, Any]:
    path = RELEASE / VERDICT
    if not path.exists():
        raise InputError(f"{path} is not there: `make repro` writes it")
    verdict: dict[str, Any] = read_json(path)
    return verdict
