"""Params: strict, frozen models without defaults; errors name section, key and the nearest valid key.

Defaults live in `params.yaml` alone. A model says type and range; whoever reads the error must be able to
mend the file without opening code.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from stages.lib.errors import InputError
from stages.lib.near_words import closest, nearest
from stages.lib.yaml_file import read_yaml

PARAMS_FILE = Path("params.yaml")

MATCHING = "matching"
"""The type of a validation error of `matching`."""

UNTOLD = "untold"
"""The type of a validation error whose input may hold a password: it is told without what was received."""


TAG = "|"
"""What the tags of a union's kinds begin with: they stand in no file, so no message names them."""

MOST_SHOWN = 60
"""Characters of a value that a message shows."""


class Section(BaseModel):
    """One section of params.yaml: unknown keys, other types, infinities and missing keys are refused."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )


S = TypeVar("S", bound=Section)


def matching(pattern: str, expected: str, *words: str) -> AfterValidator:
    """Return a check of text against a whole pattern that says in words what is expected.

    words: whole values that it may have; the message names the one that is near.
    """

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise PydanticCustomError(MATCHING, f"should be {expected}", {"near": closest(text, words)})
        return text

    return AfterValidator(check)


def load_section(model: type[S], section: str, path: Path = PARAMS_FILE) -> S:
    """Read one whole section; InputError lists every fault in it."""
    parsed, faults = parse_section(model, section, read_params(path))
    return _unless(faults, parsed, path)


def load_view(model: type[S], section: str, path: Path = PARAMS_FILE) -> S:
    """Read only `model`'s keys of a section that another stage owns."""
    values = _section_values(section, read_params(path))
    view = {key: values[key] for key in model.model_fields if key in values}
    parsed, faults = parse_section(model, section, {section: view})
    return _unless(faults, parsed, path)


def _unless(faults: list[str], parsed: S | None, path: Path) -> S:
    if parsed is None:
        raise InputError(f"{path} has {len(faults)} fault(s):\n" + "\n".join(faults))
    return parsed


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Read the file as plain values, sections by name."""
    raw = read_yaml(path)
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise InputError(f"{path}: expected sections such as 'train:', found {type(raw).__name__}")
    return raw


def _section_values(section: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    values = raw.get(section)
    return values if isinstance(values, dict) else {}


def parse_section(
    model: type[S], section: str, raw: Mapping[str, Any]
) -> tuple[S, list[str]] | tuple[None, list[str]]:
    """Return the section and no faults, or None and one line per fault."""
    if section not in raw:
        return None, [f"  {section}: the section is missing"]
    if not isinstance(raw[section], dict):
        return None, [f"  {section}: expected keys and values, received {_shown(raw[section])}"]
    try:
        # JSON mode: strict about types, yet a YAML list may fill a tuple and text a Literal.
        return model.model_validate_json(json.dumps(raw[section], default=str)), []
    except ValidationError as error:
        return None, [_fault(model, section, detail) for detail in _own(error.errors(include_url=False))]


def _own(details: Sequence[Any]) -> list[Any]:
    """Leave out "too few items" of a list whose items are at fault themselves."""
    places = [detail["loc"] for detail in details]

    def has_inner(place: tuple[int | str, ...]) -> bool:
        return any(len(other) > len(place) and other[: len(place)] == place for other in places)

    return [detail for detail in details if detail["type"] != "too_short" or not has_inner(detail["loc"])]


def _fault(model: type[Section], section: str, detail: Any) -> str:
    key = ".".join(str(part) for part in (section, *detail["loc"]) if not str(part).startswith(TAG))
    if detail["type"] == "extra_forbidden":
        return f"  {key}: unknown key{nearest(str(detail['loc'][-1]), _names(model, detail['loc']))}"
    if detail["type"] == "missing":
        return f"  {key}: the key is missing"
    if detail["type"] == UNTOLD:
        return f"  {key}: {detail['msg']}"
    if isinstance(detail["input"], dict) and detail["type"] == "value_error":
        return _together(key, detail)
    received = _shown(detail["input"])
    return f"  {key}: {_plain(detail)}; received {received}{_near(detail)}{_yaml_hint(detail)}"


def _together(key: str, detail: Any) -> str:
    """Tell of keys that do not go together: in words that begin with one of them, or with what is asked."""
    message, given = _plain(detail), json.dumps(detail["input"], ensure_ascii=False, default=str)
    first = re.match(r"\w*", message)
    if first and first[0] in detail["input"]:
        return f"  {key}.{message}"
    return f"  {key}: {message}" + (f"; received {given}" if len(given) <= MOST_SHOWN else "")


def _names(model: type[Section], loc: tuple[int | str, ...]) -> list[str]:
    """Return the valid keys beside the last part of `loc`, following nested sections."""
    for part in (part for part in loc[:-1] if isinstance(part, str)):
        field = model.model_fields.get(part)
        inner = (field.annotation, *get_args(field.annotation)) if field else ()
        sections = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, Section)]
        if not sections:
            return []
        model = sections[0]
    return list(model.model_fields)


def _plain(detail: Any) -> str:
    """Return pydantic's message without what only Python knows: its types and what raised it."""
    message = str(detail["msg"])
    for before in ("Input ", "Value error, "):
        message = message.removeprefix(before)
    return re.sub(
        r"^[A-Z][a-z]+ should have (at (?:least|most) \d+ \w+)( after validation)?",
        r"should have \1",
        message,
    )


def _near(detail: Any) -> str:
    """Return a clause that names the choice, or the word of `matching`, that is near to what was given."""
    near = detail.get("ctx", {}).get("near", "")
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        choices = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        near = closest(detail["input"], choices)
    return f"; did you mean '{near}'?" if near else ""


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    shown = text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."
    return f"{shown} ({type(value).__name__})"


def _yaml_hint(detail: Any) -> str:
    value = detail["input"]
    if not (isinstance(value, str) and detail["type"] in {"float_type", "int_type"}):
        return ""
    return f": YAML reads this as text; as a number write {_as_number(value)}"


def _as_number(text: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return "plain digits"
    if number.is_integer() and abs(number) < 1e6:
        return f"{int(number)}"
    shown = repr(number)
    return shown if "." in shown else shown.replace("e", ".0e")
