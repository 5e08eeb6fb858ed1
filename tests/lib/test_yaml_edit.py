"""Values change, and nothing else does."""

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.errors import InputError
from stages.lib.yaml_edit import flow, with_values
from stages.lib.yaml_file import parse_yaml

ROOT = Path(__file__).parents[2]

TEXT = """\
# What it is.
train:
  rate: 3.0e-3 # the peak
  widths: [24, 48]   # channels

  nested:
    kind: "cosine"
    flag: true
list:
  - 1
"""

values = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.booleans()
    | st.text(string.printable, max_size=20)
    | st.lists(st.integers(0, 100), max_size=4)
)


@settings(max_examples=40, deadline=None)
@given(values, values)
def test_what_is_written_is_read_and_every_other_character_stays(first: Any, second: Any) -> None:
    changed = with_values(TEXT, {"train.nested.kind": second, "train.rate": first}, "t")
    found = parse_yaml(changed, "t")
    assert found["train"]["rate"] == first
    assert found["train"]["nested"] == {"kind": second, "flag": True}
    assert changed == TEXT.replace("3.0e-3", flow(first)).replace('"cosine"', flow(second))


def test_small_numbers_are_written_as_the_strict_reader_takes_them() -> None:
    assert "rate: 1.0e-05 # the peak" in with_values(TEXT, {"train.rate": 1e-5}, "t")


def test_the_projects_params_keep_every_comment() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    changed = with_values(text, {"train.learning_rate": 0.25, "train.augment.flip": True}, "params.yaml")
    before, after = text.splitlines(), changed.splitlines()
    different = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert different == [
        ("  learning_rate: 3.0e-3", "  learning_rate: 0.25"),
        ("    flip: false", "    flip: true"),
    ]


def test_a_key_that_is_not_there_and_a_value_of_several_lines_are_refused() -> None:
    with pytest.raises(InputError, match=r"no key train\.rat$"):
        with_values(TEXT, {"train.rat": 1}, "t")
    with pytest.raises(InputError, match="line 10: write list on one line"):
        with_values(TEXT, {"list": [2]}, "t")
