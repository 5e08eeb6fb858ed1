"""The ensemble as val chose it: through which views, and combined how, or as one network of mean weights."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stages.lib.combining import Kind, Soup, combine
from stages.lib.dataset import Dataset
from stages.lib.device import torch_device
from stages.lib.ensemble import Member
from stages.lib.feeding import images_near
from stages.lib.progress import say
from stages.lib.soup import kitchen, why_not
from stages.lib.val_choice import choose_combination, choose_views, members_in
from stages.lib.views import PLAIN, View

SOUPS = ("soup", "greedy_soup")


def choose(
    dataset: Dataset,
    positions: np.ndarray,
    members: Mapping[str, Member],
    views: Sequence[View],
    kinds: Sequence[Kind | Soup],
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
    own = sum(view.weight for view in views if view.is_plain)
    tried = [*PLAIN, *listed]
    by_view = np.stack([member_probs(members, dataset.pixels[val], [view]) for view in tried])
    weights = np.array([own, *(view.weight for view in listed)])
    seen = choose_views(by_view.mean(axis=1), weights, labels)
    used = [replace(view, weight=float(w)) for view, w in zip(tried, seen.weights, strict=True) if w > 0]
    refused = why_not(members) if set(kinds) & set(SOUPS) else "not asked for"
    device = torch_device(dataset.pixels.shape[1])
    soup = kitchen(members, dataset.pixels, dataset.part("train"))

    def soup_probs(places: tuple[int, ...], rows: np.ndarray = val) -> np.ndarray:
        return soup(places).probs(images_near(dataset.pixels[rows], device), used).cpu().numpy()

    parts = np.tensordot(seen.weights, by_view, 1)
    combined = choose_combination(parts, labels, kinds, None if refused else soup_probs)
    told = {
        "views": {"name": seen.name, "candidates": seen.figures},
        "combination": {"name": combined.name, "candidates": combined.figures},
    }
    if refused and set(kinds) & set(SOUPS):
        say(f"the networks' weights are not averaged: {refused}")
        told["combination"]["soup_refused"] = refused
    if combined.name == "mean" and seen.name in ("none", "listed"):
        return None, told
    if combined.name in SOUPS:
        inside = members_in(combined.weights)
        told["combination"]["members"] = [list(members)[place] for place in inside]
        return soup_probs(inside, positions), told
    parts = member_probs(members, dataset.pixels[positions], used)
    return combine(parts, combined.weights, combined.name == "geometric").astype(np.float32), told


def member_probs(members: Mapping[str, Member], pixels: np.ndarray, views: Sequence[View]) -> np.ndarray:
    """Return every member's probabilities (S, N, K) for pixels (N, H, W, C) through these views."""
    images = images_near(pixels, torch_device(pixels.shape[1]))
    return np.stack([member.probs(images, views).cpu().numpy() for member in members.values()])
