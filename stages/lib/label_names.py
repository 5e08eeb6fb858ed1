"""Check the names of labels before any image is read: unknown classes, and policies that name no label."""

from collections.abc import Collection, Iterable, Mapping

from stages.lib.errors import InputError
from stages.lib.near_words import nearest
from stages.lib.progress import say

SHOWN = 20


def check_classes(source: str, counts: Mapping[str, int], allowed: Collection[str]) -> None:
    """Check labels against the allowed names; InputError lists the strangers, each with its nearest name."""
    strangers = sorted(set(counts).difference(allowed))
    if not allowed or not strangers:
        return
    lines = [f"  {name!r} ({counts[name]} times){nearest(name, list(allowed))}" for name in strangers[:SHOWN]]
    more = [f"  … and {len(strangers) - SHOWN} more"] if len(strangers) > SHOWN else []
    raise InputError(
        f"{source}: {len(strangers)} labels are not in ingest.classes:\n"
        + "\n".join(lines + more)
        + "\nMend the labels, or add the names to ingest.classes (empty allows all)"
    )


def tell_unused(key: str, names: Iterable[str], counts: Collection[str]) -> None:
    """Say which names of a policy no label has: a spelling that never matches would do nothing, unseen."""
    for name in names:
        if name not in counts:
            say(f"{key}: no label is {name!r}{nearest(name, list(counts))}")
