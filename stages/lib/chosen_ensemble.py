"""The ensemble as val chose it: through which views, and combined how."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stages.lib.combining import Kind, combine
from stages.lib.dataset import Dataset
from stages.lib.device import torch_device
from stages.lib.ensemble import Member
from stages.lib.tasks import as_images
from stages.lib.val_choice import choose_combination, choose_views
from stages.lib.views import PLAIN, View


def choose(
    dataset: Dataset,
    positions: np.ndarray,
    members: Mapping[str, Member],
    views: Sequence[View],
    kinds: Sequence[Kind],
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Return what val chose as probabilities (M, K) of all positions, and what it chose among.

    None where that is the plain ensemble, or the one through all listed views: these are predicted anyway.
    """
    val = dataset.part("val")
    if not len(val):
        return None, {}
    labels = dataset.labels[val]
    # The plain picture is the first candidate, whether it is listed or not.
    listed = [view for view in views if not view.is_plain]
    own = sum(view.weight for view in views if view not in listed)
    tried = [*PLAIN, *listed]
    by_view = np.stack([member_probs(members, dataset.pixels[val], [view]) for view in tried])
    weights = np.array([own, *(view.weight for view in listed)])
    seen = choose_views(by_view.mean(axis=1), weights, labels)
    combined = choose_combination(np.tensordot(seen.weights, by_view, 1), labels, kinds)
    told = {
        "views": {"name": seen.name, "candidates": seen.figures},
        "combination": {"name": combined.name, "candidates": combined.figures},
    }
    if combined.name == "mean" and seen.name in ("none", "listed"):
        return None, told
    used = [replace(view, weight=float(w)) for view, w in zip(tried, seen.weights, strict=True) if w > 0]
    parts = member_probs(members, dataset.pixels[positions], used)
    return combine(parts, combined.weights, combined.name == "geometric").astype(np.float32), told


def member_probs(members: Mapping[str, Member], pixels: np.ndarray, views: Sequence[View]) -> np.ndarray:
    """Return every member's probabilities (S, N, K) for pixels (N, H, W, C) through these views."""
    images = as_images(pixels, torch_device(pixels.shape[1]))
    return np.stack([member.probs(images, views).cpu().numpy() for member in members.values()])
