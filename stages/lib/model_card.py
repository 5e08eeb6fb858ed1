"""The model card, in Hugging Face's format, filled from records: what no record says is called unknown."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOT_STATED = "Not stated by its makers."


@dataclass(frozen=True)
class About:
    """What only its makers can say of a model, from `release` in params.yaml."""

    name: str
    license: str
    intended_use: str
    out_of_scope: str


def model_card(about: About, outcome: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return the card as Markdown with YAML front matter; outcome is the release stage's, as a mapping."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=False,  # noqa: S701 (Markdown, not HTML: every text of users passes `plain`)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "percent": percent, "quoted": quoted}
    template = (Path(__file__).parent / "model_card.md.jinja").read_text(encoding="utf-8")
    by_class = outcome["claims"]["classes"]
    worst = sorted(
        by_class.items(),
        key=lambda item: (item[1]["top1_accuracy"] is None, item[1]["top1_accuracy"], item[0]),
    )
    return environment.from_string(template).render(
        about=about,
        classes=classes,
        not_stated=NOT_STATED,
        percent_level=percent(outcome["settings"]["confidence"]),
        worst=worst,
        **outcome,
    )


def plain(text: object) -> str:
    """Return text that neither Markdown nor HTML takes for anything else, on one line."""
    escaped = "".join(f"\\{char}" if char in "\\`*_{}[]()#+-!|>~$" else char for char in str(text))
    return " ".join(escaped.replace("&", "&amp;").replace("<", "&lt;").split())


def quoted(text: str) -> str:
    """Return text as one double-quoted YAML scalar (JSON's strings are YAML's)."""
    return json.dumps(text, ensure_ascii=True)


def percent(share: float) -> str:
    """Write a share in per cent."""
    return f"{100 * share:.1f} %"
