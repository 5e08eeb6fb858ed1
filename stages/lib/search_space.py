"""What a search may change, and how it is drawn: ranges and choices for keys of `train`, checked before use.

Every bound and every choice is put into the section and held against its own model, so that a search never
draws what training would refuse. The value that stands in params.yaml has to lie in its range: it is the
first trial, from which a sampler learns too.
"""

import copy
import json
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from stages.lib.config import Section, parse_section
from stages.lib.near_words import nearest

SECTION = "train"


def _number(given: Any) -> Any:
    if given is None:
        return given
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        # The kind of error that has the hint about 1e-3, which YAML reads as text.
        raise PydanticCustomError("float_type", "should be a finite number")
    return given


def _value(given: Any) -> Any:
    for item in given if isinstance(given, list | tuple) else (given,):
        if not isinstance(item, bool | int | float | str):
            raise PydanticCustomError("value", "should be a number, true, false, text, or a list of these")
    return given


Number = Annotated[Any, AfterValidator(_number)]
Value = Annotated[Any, AfterValidator(_value)]
"""What a key may be set to: a plain value or a list of them, as YAML has it. A union would err five times."""


FIXED = {
    "train.seeds": "a trial has its own seeds: tune.seeds says how many",
    "train.init_file": "its checksum would have to follow; change both in params.yaml",
    "train.init_sha256": "it belongs to a file; change both in params.yaml",
}
"""Keys of train that no trial can change, and why."""

WIDTHS, INIT, PRETRAIN = "train.widths", "train.init", "pretrain"
"""Only a body that does not start from the pretrain stage's may have other channels than that."""

NO_BODY = (
    "`pretrain` trains a body only where train.init is pretrain: write that into params.yaml, run the chain, "
    "and go from there"
)


def lacks_body(section: Mapping[str, Any], key: str, values: Iterable[Any]) -> bool:
    """Say whether one of a key's values starts from a pretrained body that the plain section leaves out."""
    return key == "train.init" and "pretrain" in values and section["init"] != "pretrain"


DIGITS = 4
"""Significant digits of a drawn number: more tell nothing, and make a patch hard to read."""


class Drawn(Section):
    """One key's range (low, high, log, step) or its choices: `tune.space` in params.yaml says what they mean.

    What a distribution leaves out is off: these are forms of one thing to write, not settings.
    """

    low: Number = None
    high: Number = None
    log: bool = False
    step: int | None = Field(default=None, ge=1)
    choices: tuple[Value, ...] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log or self.step:
                raise ValueError("either choices, or low and high")
            if len(self.choices) < 2 or len({json.dumps(choice) for choice in self.choices}) < len(
                self.choices
            ):
                raise ValueError("choices are two or more, each once")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected {low: …, high: …} or {choices: […]}")
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true has no logarithm at low {self.low}; write a low above 0")
        if self.log and self.step:
            raise ValueError("log and step exclude each other")
        return self

    def texts(self) -> tuple[str, ...]:
        """Return the choices as JSON, which is how a storage keeps them."""
        return tuple(json.dumps(choice) for choice in self.choices or ())

    def text_of(self, value: Any) -> str | None:
        """Return the choice that equals a plain value, as JSON; None where there is none."""
        for choice in self.choices or ():
            if _plain(choice) == value and isinstance(choice, bool) == isinstance(value, bool):
                return json.dumps(choice)
        return None

    def ends(self) -> tuple[Any, ...]:
        """Return every choice, or both bounds: what the section's model is asked about."""
        return (self.low, self.high) if self.choices is None else tuple(map(_plain, self.choices))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def value_at(section: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key such as train.schedule.final; KeyError where there is none."""
    value: Any = {SECTION: section}
    for part in key.split("."):
        value = value[part]
    return value


def key_fault(
    section: Mapping[str, Any], key: str, fixed: Mapping[str, str], values: Iterable[Any] = ()
) -> str:
    """Say why a dotted key of the plain section `train` cannot be given these values; "" where it can."""
    if key in fixed:
        return f"it cannot be changed: {fixed[key]}"
    try:
        found = value_at(section, key)
    except (KeyError, TypeError):
        return f"no such key{nearest(key, _keys({SECTION: section}))}"
    if isinstance(found, dict):
        return f"a group of keys; name one of them, such as {_keys(found, f'{key}.')[0]}"
    return NO_BODY if lacks_body(section, key, values) else ""


def patched(section: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain section `train` with the values of dotted keys in place."""
    changed = {SECTION: copy.deepcopy(dict(section))}
    for key, value in values.items():
        *folders, last = key.split(".")
        place: dict[str, Any] = changed
        for folder in folders:
            place = place[folder]
        place[last] = _plain(value)
    return changed[SECTION]


def rounded(value: float, drawn: Drawn) -> float:
    """Return a drawn number in DIGITS significant digits, within its range."""
    assert drawn.low is not None
    assert drawn.high is not None
    return min(max(float(f"{value:.{DIGITS}g}"), float(drawn.low)), float(drawn.high))


def is_whole(model: type[Section], key: str) -> bool:
    """Say whether a key of train holds whole numbers."""
    kind: Any = model
    for part in key.split(".")[1:]:
        kind = kind.model_fields[part].annotation
    return kind is int


def space_faults(
    space: Mapping[str, Drawn], model: type[Section], section: Mapping[str, Any], epochs: int
) -> list[str]:
    """Return one line per fault of a search over the plain section `train`, whose model is `model`."""
    if not space:
        return ["  tune.space: nothing to search: name a key such as train.learning_rate"]
    faults = [fault for key, drawn in space.items() for fault in _faults_of(key, drawn, model, section)]
    inits = space[INIT].choices or () if INIT in space else (section["init"],)
    if WIDTHS in space and PRETRAIN in inits:
        faults.append(
            f"  tune.space.{WIDTHS}: it cannot be searched where a trial starts from the {PRETRAIN} "
            f"stage's body, whose channels stand in params.yaml: set {INIT} to random, or change them, "
            "run the chain, then tune"
        )
    if epochs:
        faults += [
            f"  tune.space.{key}: tune.epochs says how long each trial trains; leave one of them out"
            for key in space
            if key == "train.epochs"
        ]
    if faults:
        return faults
    corners = _corners(space, section)
    return [fault for key, drawn in space.items() for fault in _refused(key, drawn, model, section, corners)]


def _faults_of(key: str, drawn: Drawn, model: type[Section], section: Mapping[str, Any]) -> list[str]:
    place = f"  tune.space.{key}:"
    if fault := key_fault(section, key, FIXED, drawn.choices or ()):
        return [f"{place} {fault}"]
    default = value_at(section, key)
    if drawn.choices is not None:
        if drawn.text_of(default) is None:
            return [f"{place} the value in params.yaml, {default}, is no choice: it is the first trial"]
        return []
    if isinstance(default, bool) or not isinstance(default, int | float):
        return [f"{place} {default!r} is no number: write its choices"]
    return [f"{place} {fault}" for fault in _range_faults(default, drawn, is_whole(model, key))]


def _range_faults(default: float, drawn: Drawn, whole: bool) -> list[str]:
    assert drawn.low is not None
    assert drawn.high is not None
    if not drawn.low <= default <= drawn.high:
        where = f"{drawn.low} … {drawn.high}"
        return [f"the value in params.yaml, {default}, is not in {where}: it is the first trial; widen one"]
    if not whole:
        return ["step is for whole numbers"] if drawn.step else []
    if not (isinstance(drawn.low, int) and isinstance(drawn.high, int)):
        return ["the key holds whole numbers: so must low and high be"]
    if drawn.step and any((value - drawn.low) % drawn.step for value in (default, drawn.high)):
        return [
            f"steps of {drawn.step} from {drawn.low} must meet high and the value in params.yaml, {default}"
        ]
    return []


def _keys(nested: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name, value in nested.items():
        found += _keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
    return found


def _corners(space: Mapping[str, Drawn], section: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return three settings of all searched keys: as they are, all at their first end, all at their last."""
    defaults = {key: value_at(section, key) for key in space}
    return [defaults, *({key: drawn.ends()[at] for key, drawn in space.items()} for at in (0, -1))]


def _refused(
    key: str,
    drawn: Drawn,
    model: type[Section],
    section: Mapping[str, Any],
    corners: list[dict[str, Any]],
) -> list[str]:
    """Return why the model refuses an end of this key whatever the others are; keys may need each other."""
    faults: list[str] = []
    for end in drawn.ends():
        answers = [
            parse_section(model, SECTION, {SECTION: patched(section, {**corner, key: end})})[1]
            for corner in corners
        ]
        if all(answers):
            why = "; ".join(fault.strip() for fault in answers[0])
            faults.append(f"  tune.space.{key}: {json.dumps(end)} is refused: {why}")
    return faults


def drawn_value(raw: Any, drawn: Drawn) -> Any:
    """Turn what a storage keeps into the value that trains: a choice from its JSON, a number rounded."""
    if drawn.choices is not None:
        return json.loads(raw)
    if isinstance(raw, float) and math.isfinite(raw):
        return rounded(raw, drawn)
    return int(raw)
