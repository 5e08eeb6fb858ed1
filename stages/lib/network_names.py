"""Which networks there are by name, and how small an image each can take: known without building one.

No torch here, so that `assay check` can ask before the chain starts.
"""

from collections.abc import Sequence

RESIDUAL, WHITENED, TIMM = "residual", "whitened", "timm:"
"""Names of architectures: lib/nets.py's own, lib/whitened_net.py's, and the prefix of timm's."""

GROUP = 8
"""Channels per normalisation group, and so the unit of every width; also what GPU matrix units like."""

KERNEL = 2
"""Side of the whitened patches: four neighbouring pixels hold nearly all that neighbours share."""


def least_side(name: str, widths: Sequence[int]) -> int:
    """Return the smallest image of which something is left after every halving."""
    side: int = 2 ** (len(widths) - 1) if name == RESIDUAL else 2 ** len(widths) + KERNEL - 1
    return side


def size_fault(name: str, widths: Sequence[int], image_size: int) -> str:
    """Say what keeps such a network from these images, the key in front; "" where nothing does."""
    if name.startswith(TIMM):
        return ""
    if name not in (RESIDUAL, WHITENED):
        return f"network: expected {RESIDUAL}, {WHITENED}, or {TIMM} and a name of timm's; received {name!r}"
    if not widths or any(width < GROUP or width % GROUP for width in widths):
        return f"widths: every width is a positive multiple of {GROUP}; received {list(widths)}"
    least = least_side(name, widths)
    if image_size >= least:
        return ""
    most = max((n for n in range(len(widths)) if least_side(name, widths[:n]) <= image_size), default=0)
    remedy = f"list {most} at most, or raise the image size" if most else "raise the image size"
    return (
        f"widths: {list(widths)} are {len(widths)} stages, each halving the image: the {name} network needs "
        f"images of {least} pixels at least; ingest.image_size gives {image_size}: {remedy}"
    )


def depth_fault(depth: int, n_depths: int, who: str) -> str:
    """Say why there are no hints at `depth`, 1 being nearest to the image; "" where there can be."""
    if 1 <= depth <= n_depths:
        return ""
    return (
        f"distill.hint_depth: the {who} has {n_depths} depths; received {depth}: lower it, or hint_weight 0"
    )
