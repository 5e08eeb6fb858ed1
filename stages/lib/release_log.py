"""The log of releases: every override and every signature, a line each, chained by digests (case W17).

`data/release/log.jsonl` is in git. Each line names its number and the SHA-256 of the line before, so that a
line that is changed, left out or moved breaks the chain there; the digest of the last one stands in what is
signed, so that the end cannot be changed or cut off either.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.lib.artifacts import write_text
from stages.lib.errors import InputError

LOG = Path("data/release/log.jsonl")
NONE = "0" * 64
"""What the first line names as the one before."""


def read_log(path: Path = LOG) -> list[str]:
    """Return the lines, none where there is no log; InputError names the line where the chain breaks."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    faults = chain_faults(lines)
    if faults:
        raise InputError(f"{path}, {faults[0]}; git knows what it was: `git log -p {path}`")
    return lines


def write_log(lines: Sequence[str], path: Path = LOG) -> None:
    """Write the log."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def entries(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the lines say."""
    return [json.loads(line) for line in lines]


def with_act(lines: Sequence[str], act: Mapping[str, Any]) -> list[str]:
    """Return the lines with one for the act; the same act twice in a row is one: it was tried again."""
    entry = {**act, "line": len(lines) + 1, "previous": digest(lines[-1]) if lines else NONE}
    again = bool(lines) and _without_place(json.loads(lines[-1])) == dict(act)
    return list(lines) if again else [*lines, json.dumps(entry, sort_keys=True, ensure_ascii=False)]


def head(lines: Sequence[str]) -> dict[str, Any]:
    """Return what is signed of a log: how many lines it had, and the digest of the last."""
    return {"lines": len(lines), "sha256": digest(lines[-1]) if lines else NONE}


def digest(line: str) -> str:
    """Return a line's SHA-256."""
    return hashlib.sha256(line.encode()).hexdigest()


def chain_faults(lines: Sequence[str]) -> list[str]:
    """Say at which lines the chain breaks: one is not what the next one follows, or not in its place."""
    faults: list[str] = []
    previous = NONE
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            place = (entry["line"], entry["previous"])
        except (ValueError, TypeError, KeyError):
            return [*faults, f"line {number}: cannot be read"]
        if place[0] != number:
            faults.append(f"line {number}: this was line {place[0]}; lines were left out, added or moved")
        elif place[1] != previous:
            before = max(number - 1, 1)
            faults.append(f"line {before}: this is not the line that line {number} was written after")
        previous = digest(line)
    return faults


def log_faults(lines: Sequence[str], signed: Mapping[str, Any] | None) -> list[str]:
    """Hold a log against the head that a release signed."""
    if signed is None:
        return ["the release was signed without a log"]
    faults = chain_faults(lines)
    if not faults and len(lines) < signed["lines"]:
        faults.append(f"line {len(lines) + 1}: is missing; the log had {signed['lines']} when it was signed")
    elif not faults and head(lines[: signed["lines"]]) != dict(signed):
        faults.append(f"line {signed['lines']}: is not the line that was signed")
    return faults


def _without_place(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in ("line", "previous")}
