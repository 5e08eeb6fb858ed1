"""Users' own expectations: what a good file gives, and that every bad one is told with file and entry."""

import re
from pathlib import Path

import pytest

from stages.lib.errors import InputError
from stages.lib.own_expectations import read_own_checks

# Great Expectations 1.24 imports sre_constants and sre_parse, which Python deprecated; nothing of ours does.
pytestmark = pytest.mark.filterwarnings("ignore:module 'sre_.*' is deprecated:DeprecationWarning")

COLUMNS = ("sample_id", "label", "width", "height", "brightness")
GOOD = """
- name: wide_enough
  type: ExpectColumnValuesToBeBetween
  kwargs: {column: width, min_value: 32}
  severity: critical
  remedy: Ask the sender for the original.
"""


def read(folder: Path, text: str) -> list[object]:
    (folder / "expectations.yaml").write_text(text, encoding="utf-8")
    return list(read_own_checks(folder, COLUMNS, ["labels_known"]))


def test_a_good_file_gives_its_checks_and_no_file_gives_none(tmp_path: Path) -> None:
    assert read_own_checks(tmp_path, COLUMNS, []) == []
    (check,) = read_own_checks_of(tmp_path)
    assert (check.name, check.severity, dict(check.arguments)) == (
        "wide_enough",
        "critical",
        {"column": "width", "min_value": 32},
    )
    assert check.origin.endswith("expectations.yaml, entry 1 (wide_enough)")


def read_own_checks_of(folder: Path):  # type: ignore[no-untyped-def]
    (folder / "expectations.yaml").write_text(GOOD, encoding="utf-8")
    return read_own_checks(folder, COLUMNS, ["labels_known"])


BAD = {
    "YAML": (GOOD + "  remedy: again\n", r"expectations\.yaml, line 7: the key 'remedy' stands twice"),
    "tab": ("-\tname: x\n\t- y", r"expectations\.yaml"),
    "no list": ("name: x", r"expected a list of entries .* found dict"),
    "empty": ("", r"expected a list of entries .* found nothing"),
    "not an entry": ("- wide", r"entry 1: expected keys and values"),
    "unknown type": (
        GOOD.replace("ToBeBetween", "ToBeBetwen"),
        r"entry 1 \(wide_enough\): unknown expectation 'ExpectColumnValuesToBeBetwen'; "
        r"did you mean 'ExpectColumnValuesToBeBetween'",
    ),
    "SQL": (
        GOOD.replace("ExpectColumnValuesToBeBetween", "ExpectQueryResultsToMatchComparison"),
        r"entry 1 \(wide_enough\): unknown expectation",
    ),
    "unknown column": (
        GOOD.replace("column: width", "column: widht"),
        r"entry 1 \(wide_enough\): kwargs\.column: the table has no column 'widht'; did you mean 'width'",
    ),
    "missing column": (
        GOOD.replace("column: width, ", ""),
        r"entry 1 \(wide_enough\): kwargs\.column: field required",
    ),
    "unknown argument": (
        GOOD.replace("min_value", "least"),
        r"entry 1 \(wide_enough\): kwargs\.least: extra fields not permitted",
    ),
    "bad argument": (
        GOOD.replace("min_value: 32", "min_value: 1, mostly: 3"),
        r"entry 1 \(wide_enough\): kwargs\.mostly: .*1\.0",
    ),
    "code": (
        GOOD.replace("min_value: 32", "min_value: 32, row_condition: 'width > 3'"),
        r"entry 1 \(wide_enough\): kwargs\.row_condition: not taken here",
    ),
    "severity": (
        GOOD.replace("severity: critical", "severity: fatal"),
        r"entry 1 \(wide_enough\)\.severity: .*'critical' or 'warning'",
    ),
    "no remedy": (
        GOOD.replace("  remedy: Ask the sender for the original.\n", ""),
        r"entry 1 \(wide_enough\)\.remedy: the key is missing",
    ),
    "unknown key": (
        GOOD.replace("remedy", "remedi"),
        r"entry 1 \(wide_enough\)\.remedi: unknown key; did you mean 'remedy'",
    ),
    "duplicated name": (
        GOOD + GOOD,
        r"entry 2 \(wide_enough\): the name stands twice, first in entry 1 \(wide_enough\)",
    ),
    "taken name": (
        GOOD.replace("wide_enough", "labels_known"),
        r"entry 1 \(labels_known\): this name belongs to a built-in expectation",
    ),
    "hostile name": (
        GOOD.replace("wide_enough", "'<script>'"),
        r"entry 1 \(<script>\)\.name: ",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_error_that_names_file_and_entry(tmp_path: Path, case: str) -> None:
    text, message = BAD[case]
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "expectations.yaml") in str(caught.value)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("width", "widht") + GOOD.replace("critical", "fatal").replace("wide_enough", "other")
    with pytest.raises(
        InputError, match=r"2 fault\(s\):(.|\n)*entry 2 \(other\)(.|\n)*entry 1 \(wide_enough\)"
    ):
        read(tmp_path, text)
