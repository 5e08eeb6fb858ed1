"""Check a bundle, for a person or a script: exit 0 verified, 1 something is wrong, 2 cannot be judged."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.lib.artifacts import read_json
from stages.lib.payload import AUDIT
from stages.lib.release_log import log_faults
from stages.lib.trusted_bundle import key_or_refusal
from stages.lib.verification import Check, as_records, ask, succession_faults, verify

VERIFIED, WRONG = 0, 1


def verify_bundle(
    bundle: Path,
    key: Path | None,
    data: Path | None,
    after: Path | None,
    as_json: bool,
    log: Path | None = None,
) -> int:
    """Check the bundle; with `data` against a data folder too, with `after` as the successor of a release.

    With `log`, hold that log of releases against what was signed. Print, and return the exit code.
    """
    public = key_or_refusal(key)
    checks = verify(bundle, public)
    if after is not None and all(check.passed for check in checks):
        checks += [*verify(after, public)[:1], ask("succession", lambda: succession_faults(bundle, after))]
    if log is not None and all(check.passed for check in checks):
        checks.append(ask("log", lambda: log_faults(log_lines(log), signed_log(bundle))))
    if data is not None and all(check.passed for check in checks):
        from stages.lib.rescoring import verify_with_data

        checks += verify_with_data(bundle, data)
    verified = all(check.passed for check in checks)
    print_checks(checks, bundle, verified, as_json)
    return VERIFIED if verified else WRONG


def log_lines(path: Path) -> list[str]:
    """Return a log's lines as they stand."""
    return path.read_text(encoding="utf-8").splitlines()


def signed_log(bundle: Path) -> Mapping[str, Any] | None:
    """Return the head of the log that a release signed, None where it was signed without."""
    found: Mapping[str, Any] | None = read_json(bundle / AUDIT)["predicate"].get("log")
    return found


def print_checks(checks: list[Check], bundle: Path, verified: bool, as_json: bool) -> None:
    """Print one line a check, or one JSON object."""
    import typer

    if as_json:
        typer.echo(json.dumps({"verified": verified, "checks": as_records(checks)}, sort_keys=True, indent=1))
        return
    for check in checks:
        typer.echo(f"{'ok   ' if check.passed else 'WRONG'}  {check.name}: {check.detail}")
    typer.echo(f"{bundle}: {'verified' if verified else 'NOT VERIFIED'}")
