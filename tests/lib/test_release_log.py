"""W17: a log of releases tells where it was changed, and its end is held by what was signed."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.commands.release import override
from stages.commands.verify import VERIFIED, WRONG, verify_bundle
from stages.lib.artifacts import read_json
from stages.lib.errors import InputError
from stages.lib.payload import AUDIT
from stages.lib.release_log import LOG, chain_faults, head, log_faults, read_log, with_act, write_log
from stages.lib.signing import PRIVATE, PUBLIC
from tests.commands.test_release_act import fail_gate
from tests.release_fixture import Project, sign

N = 7


def seven() -> list[str]:
    lines: list[str] = []
    for number in range(N):
        lines = with_act(lines, {"act": "release", "commit": f"{number:040x}", "overridden": []})
    return lines


def changed(lines: list[str], at: int) -> list[str]:
    entry = json.loads(lines[at]) | {"commit": "f" * 40}
    return [*lines[:at], json.dumps(entry, sort_keys=True), *lines[at + 1 :]]


def removed(lines: list[str], at: int) -> list[str]:
    return lines[:at] + lines[at + 1 :]


def moved(lines: list[str], at: int) -> list[str]:
    return [*removed(lines, at), lines[at]] if at < N - 1 else [lines[-1], *lines[:-1]]


def doubled(lines: list[str], at: int) -> list[str]:
    return [*lines[: at + 1], *lines[at:]]


def torn(lines: list[str], at: int) -> list[str]:
    return [*lines[:at], lines[at][:-5], *lines[at + 1 :]]


def cut(lines: list[str], at: int) -> list[str]:
    return lines[:at]


@pytest.mark.parametrize("at", range(N))
@pytest.mark.parametrize("how", [changed, removed, moved, doubled, torn, cut])
def test_W17_whatever_is_done_to_any_line_is_found_at_that_line(
    how: Callable[[list[str], int], list[str]], at: int
) -> None:
    lines = seven()
    assert log_faults(lines, head(lines)) == []
    found = log_faults(how(lines, at), head(lines))
    broken = {doubled: at + 2, moved: at + 1 if at < N - 1 else 1}.get(how, at + 1)
    assert found[0].startswith(f"line {broken}: "), found


def test_W17_any_character_of_any_line_is_held_by_the_signed_head() -> None:
    lines = seven()
    for at, line in enumerate(lines):
        for position in range(len(line)):
            other = line[:position] + ("x" if line[position] != "x" else "y") + line[position + 1 :]
            assert log_faults([*lines[:at], other, *lines[at + 1 :]], head(lines)), (at, position)


def test_W17_a_log_whose_chain_is_made_anew_is_not_the_one_that_was_signed() -> None:
    lines = seven()
    forged: list[str] = []
    for number in range(N):
        forged = with_act(forged, {"act": "release", "commit": f"{number + 1:040x}", "overridden": []})
    assert chain_faults(forged) == []
    assert log_faults(forged, head(lines)) == [f"line {N}: is not the line that was signed"]


def test_a_log_that_went_on_is_in_order_and_an_act_tried_again_is_one_line() -> None:
    lines = seven()
    later = with_act(lines, {"act": "override", "gate": "size"})
    assert log_faults(later, head(lines)) == []
    assert with_act(later, {"act": "override", "gate": "size"}) == later
    assert log_faults(later, None) == ["the release was signed without a log"]


def test_nothing_is_added_to_a_broken_log(tmp_path: Path) -> None:
    write_log(removed(seven(), 3), tmp_path / "log.jsonl")
    with pytest.raises(InputError, match=r"log\.jsonl, line 4: this was line 5"):
        read_log(tmp_path / "log.jsonl")


def test_overrides_and_releases_are_logged_and_verify_holds_a_log_against_the_signature(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    key, log = project.keys / PUBLIC, project.root / LOG
    sign(project, project.keys / PRIVATE)
    assert [json.loads(line)["act"] for line in read_log(log)] == ["release"], "signed twice is one release"
    assert read_json(project.bundle / AUDIT)["predicate"]["log"] == head(read_log(log))
    fail_gate(project, "slices", 0.4)
    with contextlib.chdir(project.root):
        override("slices", "owls are rare", "Ada")
    assert [json.loads(line)["act"] for line in read_log(log)] == ["release", "override"]
    assert verify_bundle(project.bundle, key, None, None, False, log) == VERIFIED
    write_log(changed(read_log(log), 0), log)
    assert verify_bundle(project.bundle, key, None, None, False, log) == WRONG
    assert "WRONG  log: line 1: " in capsys.readouterr().out
