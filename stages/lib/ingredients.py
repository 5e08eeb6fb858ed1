"""Ingredients of a training recipe: two that can be taken away, and any that params of train can add.

The names of their networks' predictions say what was compared with what, and are all that `evaluate` needs:
without_<slug>_seed<k> lacks one, with_<slug>_seed<k> has one more than seed<k>, and
with_<slug>_onto_<base>_seed<k> one more than the networks with <base>.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import Discriminator, Field, Tag

from stages.lib.config import TAG, Section, matching, parse_section
from stages.lib.search_space import FIXED, SECTION, Value, key_fault, patched

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


S = TypeVar("S", bound=Section)


class Added(Section):
    """Values for keys of train, under the name that tables give them."""

    name: Annotated[
        str,
        matching(
            r"[A-Za-z][A-Za-z0-9 .+-]{0,40}",
            "a letter, then up to 40 letters, digits, spaces, dots, pluses or dashes",
        ),
    ]
    set: dict[str, Value] = Field(min_length=1)

    @property
    def slug(self) -> str:
        """Return the name as names of predictions have it."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")


def _kind(given: object) -> str:
    return f"{TAG}{'added' if isinstance(given, dict | Added) else 'taken'}"


Ingredient = Annotated[
    Annotated[Literal["pretraining", "augmentation"], Tag(f"{TAG}taken")]
    | Annotated[Added, Tag(f"{TAG}added")],
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
        if isinstance(one, Added) and (slug in RESERVED or "_onto_" in f"_{slug}_"):
            raise ValueError(f"the name {one.name!r} is taken: choose another")
    return ingredients


def with_added(train: S, added: Added) -> tuple[S, list[str]]:
    """Return train's params with the ingredient, or as they are and one line per fault of that."""
    section = train.model_dump(mode="json")
    found = [(key, key_fault(section, key, OWN, (value,))) for key, value in added.set.items()]
    faults = [f"{key}: {fault}" for key, fault in found if fault]
    if not faults:
        parsed, refused = parse_section(type(train), SECTION, {SECTION: patched(section, added.set)})
        if parsed is not None and parsed != train:
            return parsed, []
        faults = refused or ["train has it already; take it from the list"]
    return train, [f"  ablate.ingredients, {added.name}: {fault.strip()}" for fault in faults]


def added_faults(train: Section, added: Sequence[Added], *, in_order: bool) -> list[str]:
    """Return one line per fault of ingredients that are added to train's params.

    in_order: each is also held against those before it, of which any may turn out to be kept.
    """
    bases: list[tuple[Section, tuple[str, ...]]] = [(train, ())]
    faults: list[str] = []
    for one in added:
        answers = [(kept, *with_added(base, one)) for base, kept in bases]
        refused = next(((kept, why) for kept, _, why in answers if why), None)
        if refused is not None:
            kept, why = refused
            onto = f" (where {', '.join(kept)} had helped)" if kept else ""
            faults += [f"{fault}{onto}" for fault in why]
        elif in_order:
            bases += [(changed, (*kept, one.name)) for kept, changed, _ in answers]
            del bases[MOST_BASES:]
    return faults


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
