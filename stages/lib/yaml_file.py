"""Read a YAML file that people write: safe, bounded, and without YAML's silent surprises.

PyYAML's safe loader still turns `yes` into True, `017` into 15 and `1_000` into 1000, keeps the last of two
equal keys, and expands nested aliases without bound. Here each of these is an error with its line.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from stages.lib.errors import InputError

MAX_BYTES = 1_000_000
"""A params file is a page or two; a megabyte is a mistake or an attack."""

MAX_DEPTH = 20
"""Ours is three deep; the parser recurses, so that a bound keeps it from exhausting the stack."""

_PLAIN_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_PLAIN_FLOAT = re.compile(r"[-+]?(\d+\.\d*|\.\d+)(e[-+]?\d+)?|[-+]?\.inf|\.nan")
_PLAIN_BOOL = re.compile(r"true|false")
_BASE: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_BASE):  # type: ignore[misc]  # the base is chosen at run time: C where it was built
    """PyYAML's safe loader without implicit guesses."""


def _strict_int(_: Any, node: yaml.ScalarNode) -> int:
    if not _PLAIN_INT.fullmatch(node.value):
        raise _marked(node, f"'{node.value}' is ambiguous as a number: write it in plain digits")
    return int(node.value)


def _strict_float(_: Any, node: yaml.ScalarNode) -> float:
    if not _PLAIN_FLOAT.fullmatch(node.value.lower()):
        raise _marked(node, f"'{node.value}' is ambiguous as a number: write it as 0.001 or 1.0e-3")
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _strict_bool(_: Any, node: yaml.ScalarNode) -> bool:
    if not _PLAIN_BOOL.fullmatch(node.value):
        raise _marked(node, f"'{node.value}' is ambiguous: write true or false, or quote it as text")
    return bool(node.value == "true")


def _strict_map(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            raise _marked(key, "merge keys are not allowed: write the keys out")
        if key.tag != "tag:yaml.org,2002:str":
            raise _marked(key, f"the key '{key.value}' is no text: quote it, or mend it")
        if str(key.value) in seen:
            raise _marked(key, f"the key '{key.value}' stands twice")
        seen.add(str(key.value))
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return mapping


def _marked(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _strict_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _strict_float)
_StrictLoader.add_constructor("tag:yaml.org,2002:bool", _strict_bool)
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _strict_map)


def read_yaml(path: Path) -> Any:
    """Return the file's value; InputError names file, line and remedy."""
    return parse_yaml(_text(path), str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Return the value of a text that is called `name` in errors; InputError names line and remedy."""
    try:
        _refuse_aliases_and_depth(text)
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a subclass of the safe loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{name}, line {line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, InputError) as error:
        raise InputError(f"{name}: not readable as YAML: {error}") from error


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: run this in the project's root folder") from error
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path}: {len(raw):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8") from error


def _refuse_aliases_and_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_BASE):
        if isinstance(event, yaml.AliasEvent):
            raise InputError(f"the alias '*{event.anchor}' is not allowed: write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise InputError(f"nested more than {MAX_DEPTH} deep")
