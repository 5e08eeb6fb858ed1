import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from stages.lib.augment import Augmentation
from stages.lib.augment_mix import Mix
from stages.lib.counters import epoch_order, generator
from stages.lib.divergence import DivergedError
from stages.lib.loop import TrainingSet, batches_of, fit
from stages.lib.loop_state import LoopState
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.network_names import WHITENED
from stages.lib.normalise import Normalisation
from stages.lib.optimizers import BETAS
from stages.lib.recipe import Phase, Recipe
from stages.lib.schedule import Schedule, factor
from stages.lib.tasks import Classification
from tests.bars_set import FACTS, bars_set, same

CPU = torch.device("cpu")
PLAIN = Recipe((Phase("all", 3, 1.0),), 10, 3e-3, 0.1, 0.2, 0.0, None, seed=5)


def task_for(labels: torch.Tensor) -> Classification:
    return Classification(labels, torch.ones(3), 0.0, None)


def network() -> Classifier:
    prior = torch.full((3,), -math.log(3))
    return new_classifier(Architecture(1, 8, (8, 16), 3), prior, generator(CPU, "loop"))


def test_the_loop_is_the_loop_that_anyone_would_write() -> None:
    data, labels = bars_set()
    plain = network()
    decayed = [p for p in plain.parameters() if p.ndim > 1]
    others = [p for p in plain.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3, betas=BETAS)
    step = 0
    for epoch in range(3):
        for index in epoch_order(24, None, 5, epoch).tensor_split(3):
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * factor((step + 0.5) / 9, 0.2, Schedule())
            images = (data.images[index].float() / 255 - 0.3) / 0.25
            loss = functional.cross_entropy(plain(images), labels[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
    state = fit(LoopState.start(network(), PLAIN), task_for(labels), data, PLAIN)
    for mine, theirs in zip(state.network.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)
    assert state.step == 9
    assert same(state.network, state.averaged)  # ema_decay 0 keeps the last weights


def test_the_running_mean_is_the_running_mean() -> None:
    data, labels = bars_set()
    recipe = replace(PLAIN, ema_decay=0.9, batch_size=24, phases=(Phase("all", 1, 1.0),))
    state = LoopState.start(network(), recipe)
    start = copy.deepcopy(state.network)
    fit(state, task_for(labels), data, recipe)
    for mean, first, last in zip(
        state.averaged.parameters(), start.parameters(), state.network.parameters(), strict=True
    ):
        assert torch.allclose(mean, 0.1 * first + 0.9 * last, atol=1e-6)  # the ramp's first decay is 1/10


def test_with_alternate_two_epochs_show_every_image_both_ways() -> None:
    data, labels = bars_set()
    views: list[dict[int, torch.Tensor]] = [{} for _ in range(4)]

    class Watched(Classification):
        def loss(self, *given: Any) -> torch.Tensor:
            _, images, index, *_ = given
            views[state.epoch] |= {int(at): image for at, image in zip(index, images.clone(), strict=True)}
            return super().loss(*given)

    how = Augmentation(flip="alternate")
    recipe = replace(PLAIN, phases=(Phase("all", 4, 1.0),), augmentation=how)
    state = LoopState.start(network(), recipe)
    fit(state, Watched(labels, torch.ones(3), 0.0, None), data, recipe)
    plain = (data.images.float() / 255 - 0.3) / 0.25
    mirrored = 0
    for at in range(24):
        assert torch.allclose(views[0][at], views[1][at].flip(2))
        assert torch.equal(views[0][at], views[2][at])
        assert torch.equal(views[1][at], views[3][at])
        turned = not torch.allclose(views[0][at], plain[at])
        assert torch.allclose(views[0][at], plain[at].flip(2) if turned else plain[at])
        mirrored += turned
    assert 0 < mirrored < 24


def test_a_frozen_body_stays_and_the_head_moves_then_everything_moves() -> None:
    data, labels = bars_set()
    recipe = replace(PLAIN, phases=(Phase("head", 2, 0.0), Phase("all", 1, 0.5)))
    state = LoopState.start(network(), recipe)
    fit(state, task_for(labels), data, replace(recipe, phases=recipe.phases[:1]))
    assert same(state.network.get_submodule("body"), network().body)
    assert not same(state.network.get_submodule("head"), network().head)
    fit(state, task_for(labels), data, recipe)
    assert not same(state.network.get_submodule("body"), network().body)
    assert [row["phase"] for row in state.history] == ["head", "head", "all"]


def test_weight_decay_pulls_kernels_and_leaves_norms_and_biases() -> None:
    groups = LoopState.start(network(), PLAIN).optimizer.param_groups
    dims = {group["weight_decay"]: {p.ndim for p in group["params"]} for group in groups}
    assert dims[0.1] <= {2, 4}
    assert dims[0.0] == {1}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 3))
def test_batches_hold_every_sample_once_and_none_is_too_large(n: int, size: int, epoch: int) -> None:
    data = TrainingSet(torch.zeros((n, 1, 1, 1), dtype=torch.uint8), ("s",) * n, FACTS)
    batches = batches_of(data, replace(PLAIN, batch_size=size), epoch)
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
    assert max(map(len, batches)) <= size
    assert max(map(len, batches)) - min(map(len, batches)) <= 1


def test_two_runs_end_in_the_same_bytes() -> None:
    data, labels = bars_set()
    how = Augmentation(5.0, 0.1, 0.1, 0.1, True, "zeros")
    recipe = replace(PLAIN, augmentation=how, ema_decay=0.9)
    one, other = (fit(LoopState.start(network(), recipe), task_for(labels), data, recipe) for _ in range(2))
    assert same(one.averaged, other.averaged)
    assert one.history == other.history
    assert torch.are_deterministic_algorithms_enabled()


def test_mixing_reaches_the_task_with_its_targets() -> None:
    data, labels = bars_set()
    seen: list[Mix | None] = []

    class Watching(Classification):
        def loss(
            self,
            network: nn.Module,
            images: torch.Tensor,
            index: torch.Tensor,
            randomness: torch.Generator,
            mix: Mix | None = None,
        ) -> torch.Tensor:
            seen.append(mix)
            return super().loss(network, images, index, randomness, mix)

    task = Watching(labels, torch.ones(3), 0.0, None)
    how = Augmentation(mix_share=1.0, mixup_alpha=0.4, cutmix_alpha=1.0, paste=True)
    state = fit(LoopState.start(network(), PLAIN), task, data, replace(PLAIN, augmentation=how))
    assert all(mix is not None and len(mix.own) == 8 for mix in seen)
    mixed_loss = state.history[-1]["train_loss"]
    seen.clear()
    state = fit(LoopState.start(network(), PLAIN), task, data, PLAIN)
    assert seen == [None] * 9
    assert state.history[-1]["train_loss"] < mixed_loss  # type: ignore[operator]


def test_a_loss_that_is_no_number_names_the_step_and_the_samples() -> None:
    data, labels = bars_set()
    data = replace(data, normalisation=Normalisation((0.3,), (1e-300,)))
    with pytest.raises(DivergedError, match=r"became nan at step 0, in a batch of 8 images: s\d+, s\d+"):
        fit(LoopState.start(network(), PLAIN), task_for(labels), data, PLAIN)


def test_every_epoch_is_reported_with_its_mean_loss_over_samples() -> None:
    data, labels = bars_set()
    rows: list[object] = []
    state = fit(LoopState.start(network(), PLAIN), task_for(labels), data, PLAIN, report=rows.append)
    assert rows == state.history
    assert [row["epoch"] for row in state.history] == [1, 2, 3]
    assert state.history[-1]["train_loss"] < state.history[0]["train_loss"]  # type: ignore[operator]


def test_each_epoch_and_each_sample_is_augmented_anew() -> None:
    data, labels = bars_set()
    data = replace(data, images=data.images[:1].expand(24, -1, -1, -1).contiguous())
    seen: list[torch.Tensor] = []

    class Watching(Classification):
        def loss(self, network, images, *others):  # type: ignore[no-untyped-def]
            seen.append(images.clone())
            return super().loss(network, images, *others)

    recipe = replace(PLAIN, batch_size=24, augmentation=Augmentation(shift=0.2))
    fit(LoopState.start(network(), recipe), Watching(labels, torch.ones(3), 0.0, None), data, recipe)
    views = torch.cat(seen).flatten(1)  # of one picture, in three epochs of one batch
    assert len(views) == len(views.unique(dim=0)) == 3 * 24


def test_the_mean_loss_counts_each_sample_once_however_large_its_batch() -> None:
    data, labels = bars_set(25)  # batches of 9, 8 and 8

    class Told(Classification):
        def loss(self, network, images, index, *others):  # type: ignore[no-untyped-def]
            return 0 * super().loss(network, images, index, *others) + index.float().mean()

    state = fit(LoopState.start(network(), PLAIN), Told(labels, torch.ones(3), 0.0, None), data, PLAIN)
    assert [row["train_loss"] for row in state.history] == pytest.approx([12.0] * 3, rel=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_what_a_batch_norm_has_counted_is_in_the_mean_as_it_is(decay: float) -> None:
    data, labels = bars_set()
    shape = Architecture(1, 8, (8, 16), 3, WHITENED)
    network = new_classifier(shape, torch.zeros(3), generator(CPU, "counts"))
    recipe = replace(PLAIN, ema_decay=decay)
    state = fit(LoopState.start(network, recipe), task_for(labels), data, recipe)
    counts = [
        value for name, value in state.averaged.state_dict().items() if name.endswith("num_batches_tracked")
    ]
    assert [int(count) for count in counts] == [state.step] * 4
