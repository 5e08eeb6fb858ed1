"""Change values in a YAML text that people wrote, and nothing else: every comment and blank stays as it is.

A round-trip through a parser's tree re-wraps lines and re-writes numbers; here only the characters of the
values are replaced, at the places that the parser names.
"""

import json
from collections.abc import Mapping
from typing import Any

import yaml

from stages.lib.errors import InputError
from stages.lib.yaml_file import parse_yaml


def with_values(text: str, values: Mapping[str, Any], name: str) -> str:
    """Return the text with the values of dotted keys replaced; `name` is what errors call it.

    InputError where a key is not there, or its value is written over several lines as a block.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    places = sorted(
        ((*_place(root, key, name), value) for key, value in values.items()), key=lambda place: place[0]
    )
    for start, end, value in reversed(places):
        text = text[:start] + flow(value) + text[end:]
    _check(text, values, name)
    return text


def flow(value: Any) -> str:
    """Return a plain value as YAML on one line, numbers as the strict reader takes them."""
    shown = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return shown.removesuffix("\n").removesuffix("\n...")


def _place(root: Any, key: str, name: str) -> tuple[int, int]:
    node = root
    for part in key.split("."):
        children = node.value if isinstance(node, yaml.MappingNode) else []
        found = [child for label, child in children if label.value == part]
        if not found:
            raise InputError(f"{name}: there is no key {key}")
        node = found[0]
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        line = node.start_mark.line + 1
        raise InputError(
            f"{name}, line {line}: write {key} on one line, as [a, b], so that it can be replaced"
        )
    return node.start_mark.index, node.end_mark.index


def _check(text: str, values: Mapping[str, Any], name: str) -> None:
    """Refuse a text that does not say what was to be written."""
    for key, wanted in values.items():
        found = parse_yaml(text, name)
        for part in key.split("."):
            found = found[part]
        if json.dumps(found) != json.dumps(wanted):
            raise InputError(f"{name}: {key} would read {found}, not {wanted}: change it by hand")
