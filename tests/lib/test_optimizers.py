import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from stages.lib.counters import generator
from stages.lib.fine_tuning import Tuning
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.optimizers import (
    BETAS,
    UpdateRule,
    new_optimizer,
    orthogonalise,
    penalty,
    set_rates,
)

CPU = torch.device("cpu")


def network() -> Classifier:
    prior = torch.full((3,), -math.log(3))
    return new_classifier(Architecture(1, 8, (8, 16), 3), prior, generator(CPU, "optimizers"))


def descend(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    images = torch.randn(12, 1, 8, 8, generator=generator(CPU, "images"))
    labels = torch.arange(12) % 3
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(net(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def split(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    decays = [p for p in net.parameters() if p.ndim > 1]
    return decays, [p for p in net.parameters() if p.ndim <= 1]


def close(one: nn.Module, other: nn.Module, atol: float = 1e-5) -> bool:
    return all(
        torch.allclose(a, b, atol=atol) for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


def test_adamw_is_torchs_with_decay_on_matrices_alone() -> None:
    mine, theirs = network(), network()
    decays, others = split(theirs)
    groups = [{"params": decays, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    descend(mine, new_optimizer(mine, UpdateRule(), Tuning(), 3e-3, 0.1))
    descend(theirs, torch.optim.AdamW(groups, 3e-3, BETAS, fused=False))
    assert close(mine, theirs)
    assert not close(mine, network())


def test_sgd_is_torchs_with_nesterovs_momentum() -> None:
    mine, theirs = network(), network()
    decays, others = split(theirs)
    groups = [{"params": decays, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    descend(mine, new_optimizer(mine, UpdateRule("sgd", 0.9), Tuning(), 0.1, 0.01))
    descend(theirs, torch.optim.SGD(groups, 0.1, 0.9, nesterov=True, fused=False))
    assert close(mine, theirs)
    plain = network()
    descend(plain, new_optimizer(plain, UpdateRule("sgd", 0.0), Tuning(), 0.1, 0.01))
    assert not close(mine, plain)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.integers(0, 1000))
def test_newton_schulz_brings_singular_values_near_one_and_keeps_the_directions(
    rows: int, columns: int, seed: int
) -> None:
    matrix = torch.randn(rows, columns, generator=generator(CPU, seed))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    moved = torch.linalg.svdvals(orthogonalise(matrix))
    # Those that are not tiny beside the largest reach the band that Jordan et al. state.
    assert bool((moved[values > 0.05 * values.norm()] > 0.6).all())
    assert float(moved.max()) < 1.25
    inside = u.T @ orthogonalise(matrix) @ v.T
    assert torch.allclose(inside, torch.diag(torch.diagonal(inside)), atol=1e-3)


def test_muon_is_torchs_on_a_matrix_up_to_its_bfloat16() -> None:
    holder = nn.Module()
    holder.body = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(24, 16, bias=False))
    mine = holder.body[1].weight
    theirs = nn.Parameter(mine.detach().clone())
    ours = new_optimizer(holder, UpdateRule("muon", 0.95, matrix_rate=0.02), Tuning(), 3e-3, 0.1)
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=True)
    before = mine.detach().clone()
    for step in range(6):
        set_rates(ours, 3e-3, 1.0, 0.0)
        gradient = torch.randn(16, 24, generator=generator(CPU, 2, step))
        mine.grad, theirs.grad = gradient.clone(), gradient.clone()
        ours.step()
        reference.step()
    moved = (theirs - before).detach().norm()
    assert float((mine - theirs).detach().norm() / moved) < 0.03


def test_what_muon_does_not_take_goes_adamws_way() -> None:
    mine, theirs = network(), network()
    rule = UpdateRule("muon", 0.95, matrix_rate=0.02)
    optimizer = new_optimizer(mine, rule, Tuning(), 3e-3, 0.1)
    decays, others = split(theirs)
    groups = [{"params": decays, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, 3e-3, BETAS, fused=False)
    set_rates(optimizer, 3e-3, 1.0, 0.0)
    loss = functional.cross_entropy(mine(torch.ones(3, 1, 8, 8)), torch.arange(3))
    grads = torch.autograd.grad(loss, list(mine.parameters()))
    for net, stepper in ((mine, optimizer), (theirs, reference)):
        for parameter, grad in zip(net.parameters(), grads, strict=True):
            parameter.grad = grad.clone()
        stepper.step()
    pairs = zip(mine.named_parameters(), theirs.parameters(), strict=True)
    alike = {name: torch.allclose(a, b, atol=1e-6) for (name, a), b in pairs}
    assert alike["head.weight"]
    assert alike["body.stem.weight"]
    assert alike["body.blocks.0.norm1.bias"]
    assert not alike["body.blocks.0.conv1.weight"]


def test_muon_learns_a_batch_by_heart() -> None:
    net = network()
    optimizer = new_optimizer(net, UpdateRule("muon", 0.95, 0.02), Tuning(), 1e-2, 0.0)
    set_rates(optimizer, 1e-2, 1.0, 0.0)
    descend(net, optimizer, 60)
    images = torch.randn(12, 1, 8, 8, generator=generator(CPU, "images"))
    assert float(functional.cross_entropy(net(images), torch.arange(12) % 3).detach()) < 0.05


def muon_step(holder: nn.Module, *, hold: bool, steps: int = 1) -> torch.Tensor:
    weight = holder.body[1].weight
    rule = UpdateRule("muon", 0.9, matrix_rate=0.3, hold_norm=hold)
    optimizer = new_optimizer(holder, rule, Tuning(), 3e-3, 0.1)
    set_rates(optimizer, 3e-3, 1.0, 0.0)
    for step in range(steps):
        weight.grad = torch.randn(weight.shape, generator=generator(CPU, 4, step))
        optimizer.step()
    return weight.detach()


def two_layers() -> nn.Module:
    holder = nn.Module()
    holder.body = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(24, 16, bias=False))
    nn.init.normal_(holder.body[1].weight, generator=generator(CPU, 3))
    return holder


def test_a_held_matrix_turns_as_a_free_one_and_keeps_its_norm() -> None:
    start = two_layers().body[1].weight.detach()
    free, held = (muon_step(two_layers(), hold=hold) for hold in (False, True))
    assert not torch.isclose(free.norm(), start.norm(), rtol=1e-3)
    assert torch.allclose(held, free * start.norm() / free.norm(), atol=1e-6)
    many = muon_step(two_layers(), hold=True, steps=30)
    assert torch.isclose(many.norm(), start.norm(), rtol=1e-5)
    assert functional.cosine_similarity(many.flatten(), start.flatten(), 0) < 0.9


def test_a_matrix_that_starts_at_zero_is_not_held_there() -> None:
    holder = two_layers()
    nn.init.zeros_(holder.body[1].weight)
    moved = muon_step(holder, hold=True, steps=3)
    assert bool(torch.isfinite(moved).all())
    assert float(moved.norm()) > 0.1


def test_only_muons_matrices_are_held() -> None:
    free, held = network(), network()
    for net, hold in ((free, False), (held, True)):
        rule = UpdateRule("muon", 0.95, matrix_rate=0.1, hold_norm=hold)
        optimizer = new_optimizer(net, rule, Tuning(), 1e-2, 0.1)
        set_rates(optimizer, 1e-2, 1.0, 0.0)
        descend(net, optimizer, 1)
    chosen, first = by_muon(network()), dict(network().named_parameters())
    for (name, one), other in zip(held.named_parameters(), free.parameters(), strict=True):
        assert torch.equal(one, other) == (name not in chosen), name
        assert (name not in chosen) or torch.isclose(one.norm(), first[name].norm(), rtol=1e-5), name


def by_muon(net: nn.Module) -> set[str]:
    names = {parameter: name for name, parameter in net.named_parameters()}
    groups = new_optimizer(net, UpdateRule("muon"), Tuning(), 0.1, 0.1).param_groups
    return {names[parameter] for group in groups if group["matrix"] for parameter in group["params"]}


def test_muon_takes_kernels_and_matrices_between_the_first_and_the_last_layer() -> None:
    chosen = by_muon(network())
    kernels = {name for name, p in network().named_parameters() if name.startswith("body.") and p.ndim > 1}
    assert chosen == kernels - {"body.stem.weight"}
    assert "body.blocks.1.conv2.weight" in chosen


def test_muon_takes_every_learned_kernel_behind_a_computed_first_layer() -> None:
    prior = torch.full((3,), -math.log(3))
    net = new_classifier(Architecture(1, 8, (8, 16), 3, "whitened"), prior, generator(CPU, "whitened"))
    assert by_muon(net) == {f"body.blocks.{at}.conv{which}.weight" for at in (0, 1) for which in (1, 2)}


def test_muon_leaves_a_transformers_tokens_positions_and_first_layer_to_adamw() -> None:
    prior = torch.full((3,), -math.log(3))
    net = new_classifier(Architecture(3, 32, (8,), 3, "timm:test_vit"), prior, generator(CPU, "vit"))
    named = dict(net.named_parameters())
    assert {"body.cls_token", "body.pos_embed", "body.patch_embed.proj.weight"} <= named.keys()
    linear = {f"body.{name}.weight" for name, layer in net.body.named_modules() if type(layer) is nn.Linear}
    assert by_muon(net) == linear
    assert "body.blocks.0.attn.qkv.weight" in linear


def test_muon_leaves_depthwise_kernels_and_both_halves_of_a_first_layer_to_adamw() -> None:
    net = nn.Module()
    net.body = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, groups=4))
    assert by_muon(net) == {"body.2.weight"}  # a kernel of several inputs mixes them, in groups or not
    net.body.pretrained_cfg = {"first_conv": ("0", "2")}  # type: ignore[assignment]  # as timm's crossvit
    assert by_muon(net) == set()


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_weight_decay_spares_what_the_bodys_author_names(kind: str) -> None:
    prior = torch.full((3,), -math.log(3))
    net = new_classifier(Architecture(3, 32, (8,), 3, "timm:test_vit"), prior, generator(CPU, "vit"))
    groups = new_optimizer(net, UpdateRule(kind), Tuning(), 0.1, 0.3).param_groups  # type: ignore[arg-type]
    names = {parameter: name for name, parameter in net.named_parameters()}
    held = {names[parameter] for group in groups if group["weight_decay"] for parameter in group["params"]}
    spared = {f"body.{name}" for name in net.body.no_weight_decay()}  # type: ignore[operator]
    matrices = {name for name, parameter in net.named_parameters() if parameter.ndim > 1}
    assert {"body.cls_token", "body.pos_embed"} <= spared & matrices
    assert held == matrices - spared


def test_one_cycles_momentum_reaches_every_kind_of_optimiser() -> None:
    for kind, key in (("sgd", "momentum"), ("muon", "momentum"), ("adamw", "betas")):
        optimizer = new_optimizer(network(), UpdateRule(kind), Tuning(), 0.1, 0.0)  # type: ignore[arg-type]
        set_rates(optimizer, 0.05, 1.0, 0.87)
        values = [group[key] for group in optimizer.param_groups]
        assert all(value == 0.87 or value == (0.87, BETAS[1]) for value in values)


@pytest.mark.parametrize("kind", ["adamw", "sgd", "muon"])
def test_the_penalty_is_half_the_decay_times_the_squares_of_what_decays(kind: str) -> None:
    net = network()
    optimizer = new_optimizer(net, UpdateRule(kind), Tuning(), 0.1, 0.3)  # type: ignore[arg-type]
    squares = sum(float(p.detach().square().sum()) for p in net.parameters() if p.ndim > 1)
    assert penalty(optimizer) == pytest.approx(0.15 * squares, rel=1e-5)
    assert penalty(new_optimizer(net, UpdateRule(), Tuning(), 0.1, 0.0)) == 0.0


def test_the_penaltys_gradient_is_what_sgd_adds() -> None:
    weight = nn.Parameter(torch.tensor([[2.0, -3.0]]))
    holder = nn.Module()
    holder.register_parameter("weight", weight)
    optimizer = new_optimizer(holder, UpdateRule("sgd", 0.0), Tuning(), 0.1, 0.5)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert weight.tolist() == [[pytest.approx(2 - 0.1 * 0.5 * 2), pytest.approx(-3 + 0.1 * 0.5 * 3)]]
