"""The last evaluation as Markdown for a pull request: figures against another commit's, params, gates.

A figure's change is told beside both intervals, and not judged: the two were drawn from the same test images
but not paired. `assay diff` pairs them, given both bundles.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.commands.summary import rows
from stages.lib.artifacts import read_json
from stages.lib.cli import flat_values
from stages.lib.config import PARAMS_FILE, read_params
from stages.lib.errors import InputError
from stages.lib.gates import shown
from stages.lib.model_card import plain
from stages.lib.report_words import in_order, percent, span
from stages.lib.story import sentences
from stages.lib.yaml_file import parse_yaml

EVALUATION = Path("data/evaluate/metrics.json")
VERDICT = Path("data/release/verdict.json")
ABSENT = "–"


def markdown_summary(against: str | None) -> str:
    """Return the summary, held against a commit where one is named; InputError without results."""
    if not EVALUATION.exists():
        raise InputError(f"{EVALUATION} is missing: nothing has been evaluated yet, run `make repro`")
    results = read_json(EVALUATION)
    before = _at(against, EVALUATION) if against else None
    old = json.loads(before) if before else None
    lines = ["## Test accuracy", "", *accuracy_table(results["test"], old["test"] if old else None)]
    if told := sentences(results.get("story", {})):
        lines += ["", *(f"- {plain(sentence)}" for sentence in told)]
    if against:
        lines += ["", f"### Params that differ from {plain(against)}", "", *param_lines(against)]
    if VERDICT.exists():
        lines += ["", "### Gates", "", *gate_lines(read_json(VERDICT))]
    return "\n".join(lines) + "\n"


def accuracy_table(scores: dict[str, Any], old: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield a table of every prediction, with the other commit's accuracy where there is one."""
    if old is None:
        yield "| prediction | accuracy | interval | n |"
        yield "|---|---:|---:|---:|"
        yield from (f"| {' | '.join(map(plain, row))} |" for row in rows(scores))
        return
    yield "| prediction | before | after | change | interval before | interval after | n |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name in in_order(list({*scores, *old})):
        after, earlier = scores.get(name), old.get(name)
        cells = [_accuracy(earlier), _accuracy(after), _change(earlier, after), _span(earlier), _span(after)]
        yield f"| {plain(name)} | {' | '.join(cells)} | {(after or earlier or {})['n']:,} |"


def _accuracy(score: Mapping[str, Any] | None) -> str:
    return percent(score["top1_accuracy"]) if score else ABSENT


def _span(score: Mapping[str, Any] | None) -> str:
    return span(score["top1_accuracy_ci"]) if score else ABSENT


def _change(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    if not old or not new:
        return ABSENT
    return f"{100 * (new['top1_accuracy'] - old['top1_accuracy']):+.1f} points"


def param_lines(against: str) -> Iterator[str]:
    """Yield every param whose value differs."""
    text = _at(against, PARAMS_FILE)
    old = flat_values(parse_yaml(text, str(PARAMS_FILE)) if text else {})
    new = flat_values(read_params(PARAMS_FILE))
    changed = [name for name in sorted({*old, *new}) if old.get(name, ABSENT) != new.get(name, ABSENT)]
    if not changed:
        yield "none"
        return
    yield "| param | before | after |"
    yield "|---|---|---|"
    for name in changed:
        yield f"| {plain(name)} | {plain(old.get(name, ABSENT))} | {plain(new.get(name, ABSENT))} |"


def gate_lines(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Yield how many gates passed, and each that did not."""
    gates = verdict["gates"]
    yield f"{sum(gate['passed'] for gate in gates)} of {len(gates)} passed."
    for gate in gates:
        if not gate["passed"]:
            fate = f"overridden by {plain(gate['override']['by'])}" if gate["override"] else "failed"
            seen = f"{plain(shown(gate['value']))}, asked {plain(gate['bound'])}"
            yield f"- **{plain(gate['name'])}** {fate}: {seen}"


def _at(commit: str, path: Path) -> str:
    """Return a file as a commit has it, empty where it has none; InputError where there is no such commit."""
    known = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"],
        capture_output=True,
        check=False,
    )
    if known.returncode:
        raise InputError(f"git knows no commit {commit!r}: fetch it first (in CI: with its history)")
    done = subprocess.run(
        ["git", "show", f"{commit}:{path.as_posix()}"], capture_output=True, text=True, check=False
    )
    return done.stdout if done.returncode == 0 else ""
