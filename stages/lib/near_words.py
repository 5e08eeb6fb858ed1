"""What a misspelt word may have been meant to be: one place, so that every message says it alike."""

import difflib
from collections.abc import Sequence

NEAR = 0.5
"""Likeness (difflib's, 0 to 1) from which on a word may be what was meant."""

MOST_NAMED = 100
"""Valid words that are listed where none is close to the given one."""


def closest(word: str, valid: Sequence[str]) -> str:
    """Return the valid word that is most like the given one, "" where none is near."""
    return "".join(difflib.get_close_matches(word, valid, n=1, cutoff=NEAR))


def nearest(word: str, valid: Sequence[str]) -> str:
    """Return a clause that names the closest valid word, or all of them where none is close."""
    close = closest(word, valid)
    if close:
        return f"; did you mean '{close}'?"
    if len(valid) > MOST_NAMED:
        return f"; none of the {len(valid)} there are is near"
    return f"; valid here: {', '.join(sorted(valid)) or 'nothing'}"
