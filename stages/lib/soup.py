"""A soup: one network whose weights are the mean of several (Wortsman et al., Model soups, arXiv:2203.05482).

It costs one network where the ensemble costs all. Means make sense only among networks that started from the
same weights and have stayed in one valley of the loss; val tells whether they have. Statistics of batch norms
belong to weights, so they are taken anew from train (Izmailov et al., arXiv:1803.05407).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from stages.lib.ensemble import Member
from stages.lib.nets import Classifier
from stages.lib.normalise import Normalisation, normalise
from stages.lib.tasks import CHUNK, as_images


def why_not(members: Mapping[str, Member]) -> str:
    """Return why these networks' weights cannot be averaged; empty where they can."""
    cards = [member.card for member in members.values()]
    if len(cards) < 2:
        return "there is one network only: list more train.seeds"
    if len({card.architecture for card in cards}) > 1:
        return "they are of different architectures"
    starts = [dict(card.parents) for card in cards]
    if not starts[0]:
        return "they did not start from the same weights (train.init: random): a mean of them lies nowhere"
    if any(start != starts[0] for start in starts):
        return "they started from different weights: train them anew from one start"
    return ""


def soup_of(members: Sequence[Member], pixels: np.ndarray, train: np.ndarray) -> Member:
    """Return the mean of the members' weights; rows `train` of pixels (N, H, W, C) teach its batch norms."""
    first = members[0]
    network = Classifier(first.card.architecture)
    states = [member.network.state_dict() for member in members]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }
    network.load_state_dict(mean)
    device = first.network.head.bias.device
    network = network.to(device).eval()
    learn_statistics(network, pixels, train, first.card.normalisation)
    return Member(network, first.card, "")


def learn_statistics(
    network: nn.Module, pixels: np.ndarray, rows: np.ndarray, normalisation: Normalisation
) -> None:
    """Set the running statistics of batch norms to the mean over chunks of the images `rows` (M,)."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms or not len(rows):
        return
    device = next(network.parameters()).device
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then keeps the plain mean of what it saw
        norm.train()
    with torch.no_grad():
        for some in np.array_split(rows, -(-len(rows) // CHUNK)):
            network(normalise(as_images(pixels[some], device).float() / 255, normalisation))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        norm.eval()


def kitchen(
    members: Mapping[str, Member], pixels: np.ndarray, train: np.ndarray
) -> Callable[[tuple[int, ...]], Member]:
    """Return what makes the soup of the members at some places, each once."""
    listed, made = list(members.values()), dict[tuple[int, ...], Member]()

    def soup(places: tuple[int, ...]) -> Member:
        if places not in made:
            made[places] = soup_of([listed[place] for place in places], pixels, train)
        return made[places]

    return soup
