"""Ingredients of a training recipe: two that can be taken away, and any that params of train can add.

The names of their networks' predictions say what was compared with what, and are all that `evaluate` needs:
without_<slug>_seed<k> lacks one, with_<slug>_seed<k> has one more than seed<k>, and
with_<slug>_onto_<base>_seed<k> one more than the networks with <base>.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from stages.lib.config import Section, parse_section
from stages.lib.search_space import FIXED, NO_BODY, SECTION, Value, lacks_body, patched, value_at

TAKEN = ("pretraining", "augmentation")
RESERVED = (*TAKEN, "ensemble", "tta", "distillation")
"""Names that the table of gains has of its own."""

OWN = FIXED | {
    "train.seeds": "an ingredient is trained from the same seeds as train's own networks",
    "train.widths": "`pretrain` trains a body of these channels: one recipe has one of them",
}
"""Keys of train that no ingredient can change, and why."""

MOST_BASES = 64
"""Recipes that an ingredient is tried onto before anything is trained: what the six first can make."""

WITHOUT = re.compile(r"without_(?P<slug>[a-z0-9_]+)_seed(?P<seed>\d+)")
WITH = re.compile(r"with_(?P<slug>[a-z0-9_]+?)(_onto_(?P<base>[a-z0-9_]+))?_seed(?P<seed>\d+)")


class Added(Section):
    """Values for keys of train, under the name that tables give them."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9 .+-]{0,40}$")
    set: dict[str, Value] = Field(min_length=1)

    @property
    def slug(self) -> str:
        """Return the name as names of predictions have it."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")


def _kind(given: object) -> str:
    return "added" if isinstance(given, dict | Added) else "taken"


Ingredient = Annotated[
    Annotated[Literal["pretraining", "augmentation"], Tag("taken")] | Annotated[Added, Tag("added")],
    Discriminator(_kind),
]


def slug_of(ingredient: Added | str) -> str:
    """Return how an ingredient is called in names of predictions."""
    return ingredient if isinstance(ingredient, str) else ingredient.slug


def check_names(ingredients: "tuple[Ingredient, ...]") -> "tuple[Ingredient, ...]":
    """Refuse names that mean the same or another thing."""
    slugs = [slug_of(one) for one in ingredients]
    for one, slug in zip(ingredients, slugs, strict=True):
        if slugs.count(slug) > 1:
            raise ValueError(f"{slug} stands twice")
        if isinstance(one, Added) and (slug in RESERVED or "_onto_" in slug):
            raise ValueError(f"the name {one.name!r} is taken: choose another")
    return ingredients


def with_added(
    section: Mapping[str, Any], added: Added, model: type[Section]
) -> tuple[dict[str, Any], list[str]]:
    """Return the plain section train with the ingredient, and one line per fault of that."""
    faults = [fault for key, value in added.set.items() for fault in _key_faults(section, key, value)]
    if faults:
        return {}, [f"  ablate.ingredients, {added.name}: {fault}" for fault in faults]
    changed = patched(section, added.set)
    refused = parse_section(model, SECTION, {SECTION: changed})[1]
    if not refused and changed == section:
        refused = ["train has it already; take it from the list"]
    return changed, [f"  ablate.ingredients, {added.name}: {fault.strip()}" for fault in refused]


def added_faults(
    section: Mapping[str, Any], added: Sequence[Added], model: type[Section], *, in_order: bool
) -> list[str]:
    """Return one line per fault of ingredients that are added to the plain section train.

    in_order: each is also held against those before it, of which any may turn out to be kept.
    """
    bases: list[tuple[dict[str, Any], tuple[str, ...]]] = [(dict(section), ())]
    faults: list[str] = []
    for one in added:
        answers = [(kept, *with_added(base, one, model)) for base, kept in bases]
        refused = next(((kept, why) for kept, _, why in answers if why), None)
        if refused is not None:
            kept, why = refused
            onto = f" (where {', '.join(kept)} had helped)" if kept else ""
            faults += [f"{fault}{onto}" for fault in why]
        elif in_order:
            bases += [(changed, (*kept, one.name)) for kept, changed, _ in answers]
            del bases[MOST_BASES:]
    return faults


def _key_faults(section: Mapping[str, Any], key: str, value: Any) -> list[str]:
    if key in OWN:
        return [f"{key} cannot be added: {OWN[key]}"]
    try:
        found = value_at(section, key)
    except (KeyError, TypeError):
        return [f"there is no key {key}"]
    if isinstance(found, dict):
        return [f"{key} is a group of keys; name one of them, not {json.dumps(value)}"]
    return [f"{key} cannot be added: {NO_BODY}"] if lacks_body(section, key, [value]) else []


def prediction_name(ingredient: Added | str, base: str, seed: int) -> str:
    """Return the name of one network's predictions; base: the slug that it was added to, "" for train's."""
    if isinstance(ingredient, str):
        return f"without_{ingredient}_seed{seed}"
    return f"with_{ingredient.slug}{f'_onto_{base}' if base else ''}_seed{seed}"


def described(name: str) -> str:
    """Return what a network of ablate's is, in words; empty for any other prediction."""
    lacking, having = WITHOUT.fullmatch(name), WITH.fullmatch(name)
    if lacking:
        return f"one network, trained from seed {lacking['seed']} without {lacking['slug'].replace('_', ' ')}"
    if having is None:
        return ""
    onto = f", added to {having['base'].replace('_', ' ')}" if having["base"] else ""
    return f"one network, trained from seed {having['seed']} with {having['slug'].replace('_', ' ')}{onto}"


def compared(names: Sequence[str], plain: Sequence[str]) -> dict[str, tuple[list[str], list[str]]]:
    """Return {slug: (networks with it, networks without it)}, by seed; plain: those of train as it stands."""
    lacking = _by_slug(names, WITHOUT)
    having = _by_slug(names, WITH)
    bases = {match["slug"]: match["base"] for name in names if (match := WITH.fullmatch(name))}
    found = {slug: (list(plain), part) for slug, part in lacking.items()}
    for slug, part in having.items():
        base = bases[slug]
        found[slug] = part, having.get(base, []) if base else list(plain)
    return dict(sorted(found.items()))


def _by_slug(names: Sequence[str], pattern: re.Pattern[str]) -> dict[str, list[str]]:
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        if match := pattern.fullmatch(name):
            found.setdefault(match["slug"], []).append((int(match["seed"]), name))
    return {slug: [name for _, name in sorted(pairs)] for slug, pairs in found.items()}
