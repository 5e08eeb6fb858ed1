"""Params are refused before any compute, with section, key and remedy in the message."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from stages.lib.config import Section, load_section, load_view, matching, parse_section
from stages.lib.errors import InputError
from stages.lib.yaml_file import MAX_BYTES, read_yaml


class Example(Section):
    epochs: int = Field(ge=1, le=100)
    learning_rate: float = Field(gt=0, le=10)
    kind: Literal["plain", "fancy"]
    seeds: tuple[int, ...] = Field(min_length=1)


GOOD: dict[str, Any] = {"epochs": 3, "learning_rate": 0.1, "kind": "plain", "seeds": [0, 1]}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_section_is_read_and_cannot_be_changed(tmp_path: Path) -> None:
    params = load_section(Example, "train", write(tmp_path, yaml.safe_dump({"train": GOOD})))
    assert params.seeds == (0, 1)
    with pytest.raises(ValueError, match="frozen"):
        params.epochs = 4  # type: ignore[misc]


def test_P1_an_unknown_key_is_refused_with_section_and_nearest_key() -> None:
    parsed, faults = parse_section(Example, "train", {"train": GOOD | {"learing_rate": 0.1}})
    assert parsed is None
    assert faults == ["  train.learing_rate: unknown key; did you mean 'learning_rate'?"]


@pytest.mark.parametrize(
    ("key", "text", "told"),
    [
        ("epochs", '"3"', "should be a valid integer"),
        ("epochs", "3.0", "should be a valid integer"),
        ("epochs", "1_000", "ambiguous as a number"),
        ("epochs", "0o17", "should be a valid integer"),
        ("epochs", "017", "ambiguous as a number"),
        ("epochs", "true", "should be a valid integer"),
        ("learning_rate", "1e-3", "as a number write 0.001"),
        ("learning_rate", "1e-7", "as a number write 1.0e-07"),
        ("learning_rate", "yes", "ambiguous: write true or false"),
        ("kind", "null", "should be 'plain' or 'fancy'"),
        ("kind", "fency", "received \"fency\" .str.; did you mean 'fancy'"),
        ("seeds", "[]", r"train\.seeds: should have at least 1 item, not 0; received \[\]"),
        ("seeds", "{a: 1}", "should be a valid array"),
    ],
)
def test_P2_a_wrong_type_is_refused_with_what_was_received(
    tmp_path: Path, key: str, text: str, told: str
) -> None:
    lines = "".join(f"  {name}: {text if name == key else value}\n" for name, value in GOOD.items())
    with pytest.raises(InputError, match=told):
        load_section(Example, "train", write(tmp_path, f"train:\n{lines}"))


@pytest.mark.parametrize(("key", "value"), [("epochs", 0), ("epochs", 101), ("learning_rate", 0.0)])
def test_P3_a_value_out_of_range_is_refused_with_the_range(key: str, value: float) -> None:
    _, faults = parse_section(Example, "train", {"train": GOOD | {key: value}})
    assert len(faults) == 1
    assert f"train.{key}: should be" in faults[0]


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf"])
def test_P4_a_number_that_is_not_finite_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"train:\n  epochs: 3\n  learning_rate: {text}\n  kind: plain\n  seeds: [0]\n")
    with pytest.raises(InputError, match="finite number"):
        load_section(Example, "train", path)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.just("x" * 10_000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(GOOD)), _anything)
def test_P7_any_value_gives_a_section_or_named_faults_and_nothing_else(key: str, value: object) -> None:
    parsed, faults = parse_section(Example, "train", {"train": GOOD | {key: value}})
    assert (parsed is None) == bool(faults)
    assert all(fault.startswith(f"  train.{key}") and len(fault) < 300 for fault in faults)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_P7_a_deleted_key_is_named(key: str) -> None:
    _, faults = parse_section(Example, "train", {"train": {k: v for k, v in GOOD.items() if k != key}})
    assert faults == [f"  train.{key}: the key is missing"]


def test_a_view_reads_some_keys_of_a_foreign_section(tmp_path: Path) -> None:
    class View(Section):
        seeds: tuple[int, ...]

    assert load_view(View, "train", write(tmp_path, yaml.safe_dump({"train": GOOD}))).seeds == (0, 1)


LAUGHS = "a: &a [x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}]\n" for i in range(9))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LAUGHS, "alias"),
        ("a: !!python/object/apply:os.system ['true']", "constructor for the tag"),
        ("a: 1\na: 2", "line 2: the key 'a' stands twice"),
        ("[" * 100_000, "nested more than"),
        ("a: [1", "did not find expected"),
        ("2020-01-01: 2", "is no text"),
        ("a: {<<: {b: 1}, b: 2}", "merge keys are not allowed"),
        ("a: 0.1_0", "ambiguous as a number"),
        ("a: 1:30.5", "ambiguous as a number"),
        ("x" * (MAX_BYTES + 1), "at most"),
    ],
)
def test_N12_a_yaml_bomb_is_refused_at_once(tmp_path: Path, text: str, told: str) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match=told):
        read_yaml(write(tmp_path, text))
    assert time.process_time() - started < 1.0


def test_a_params_file_that_is_no_utf8_is_refused_with_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"train: caf\xe9")
    with pytest.raises(InputError, match="byte 10 is not UTF-8"):
        read_yaml(path)


class Item(Section):
    weight: float


class Listed(Section):
    items: tuple[Item, ...] = Field(min_length=1)


def test_a_fault_inside_a_list_is_told_once_with_the_nearest_key() -> None:
    _, faults = parse_section(Listed, "predict", {"predict": {"items": [{"weight": 1.0, "wieght": 2.0}]}})
    assert faults == ["  predict.items.0.wieght: unknown key; did you mean 'weight'?"]


class Named(Section):
    name: Annotated[str, matching("residual|whitened|timm:.+", "one of ours, or timm:<name>", "residual")]


class Pair(Section):
    low: int
    high: int

    @model_validator(mode="after")
    def _in_order(self) -> "Pair":
        if self.low == self.high:
            raise ValueError("expected two numbers")
        if self.low > self.high:
            raise ValueError("low is above high: swap them")
        return self


def test_text_of_a_form_is_refused_in_words_with_what_is_near() -> None:
    assert parse_section(Named, "train", {"train": {"name": "timm:x"}})[1] == []
    told = [parse_section(Named, "train", {"train": {"name": name}})[1] for name in ("residul", "x")]
    said = "  train.name: should be one of ours, or timm:<name>; received"
    assert told == [[f"{said} \"residul\" (str); did you mean 'residual'?"], [f'{said} "x" (str)']]


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ({"low": 3, "high": 2}, "  train.low is above high: swap them"),
        ({"low": 2, "high": 2}, '  train: expected two numbers; received {"low": 2, "high": 2}'),
    ],
)
def test_keys_that_do_not_go_together_are_told_by_their_own_names(pair: dict[str, int], told: str) -> None:
    assert parse_section(Pair, "train", {"train": pair})[1] == [told]
