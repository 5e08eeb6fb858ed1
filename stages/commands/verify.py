"""Check a bundle, for a person or a script: exit 0 verified, 1 something is wrong, 2 cannot be judged."""

import json
from pathlib import Path

from stages.lib.errors import InputError
from stages.lib.signing import own_public_key
from stages.lib.verification import Check, as_records, ask, succession_faults, verify

VERIFIED, WRONG = 0, 1


def verify_bundle(
    bundle: Path, key: Path | None, data: Path | None, after: Path | None, as_json: bool
) -> int:
    """Check the bundle; with `data` against a data folder too, with `after` as the successor of a release.

    Print, and return the exit code.
    """
    public = key or own_public_key()
    if not public.exists():
        raise InputError(
            "a signature is worth as much as the key it is held against: name the public key of those you "
            "trust with --key"
        )
    checks = verify(bundle, public)
    if after is not None and all(check.passed for check in checks):
        checks += [*verify(after, public)[:1], ask("succession", lambda: succession_faults(bundle, after))]
    if data is not None and all(check.passed for check in checks):
        from stages.lib.rescoring import verify_with_data

        checks += verify_with_data(bundle, data)
    verified = all(check.passed for check in checks)
    print_checks(checks, bundle, verified, as_json)
    return VERIFIED if verified else WRONG


def print_checks(checks: list[Check], bundle: Path, verified: bool, as_json: bool) -> None:
    """Print one line a check, or one JSON object."""
    import typer

    if as_json:
        typer.echo(json.dumps({"verified": verified, "checks": as_records(checks)}, sort_keys=True, indent=1))
        return
    for check in checks:
        typer.echo(f"{'ok   ' if check.passed else 'WRONG'}  {check.name}: {check.detail}")
    typer.echo(f"{bundle}: {'verified' if verified else 'NOT VERIFIED'}")
