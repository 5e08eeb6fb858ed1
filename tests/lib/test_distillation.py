"""Each way of teaching does what its paper says."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from stages import distill
from stages.lib.counters import generator
from stages.lib.dataset import Dataset
from stages.lib.distillation import Distillation, Soft
from stages.lib.ensemble import Member
from stages.lib.errors import InputError
from stages.lib.hints import REGRESSOR, captured, layer_at
from stages.lib.nets import Architecture, Classifier, new_classifier
from stages.lib.normalise import Normalisation, normalise
from stages.lib.tasks import as_images
from stages.lib.teachers import Teacher
from stages.lib.views import PLAIN, View, see
from stages.lib.weights import Card
from tests.prepared_data import CLASSES, bars_dataset
from tests.training_fixture import distill_params

CPU = torch.device("cpu")
FACTS = Normalisation((0.3,), (0.25,))


class Fixed(nn.Module):
    """Logits that are parameters, whatever the picture."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits[: len(images)]


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator(CPU, "distillation", seed))


def gradient(soft: Soft, temperature: float, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    net = Fixed(student)
    task = Distillation(Teacher([Fixed(teacher)]), torch.full((4,), -1), temperature, 0.0, None, soft)
    task.loss(net, torch.zeros(4, 1, 2, 2), torch.arange(4), generator(CPU)).backward()  # type: ignore[no-untyped-call]
    assert net.logits.grad is not None
    return net.logits.grad


def test_at_high_temperature_kl_with_its_factor_becomes_the_difference_of_centred_logits() -> None:
    # Hinton et al. 2015, 2.1: dC/dz = (z - v) / (N T²) for zero-mean logits, and T² is taken away.
    student, teacher = draws(4, 5).double(), draws(4, 5, seed=1).double()
    centred = [logits - logits.mean(1, keepdim=True) for logits in (student, teacher)]
    wanted = (centred[0] - centred[1]) / 5 / 4  # per class, and the batch's mean
    errors = [
        float((gradient("kl", t, student, teacher) - wanted).abs().max()) for t in (1.0, 10.0, 100.0, 1000.0)
    ]
    assert errors[-1] < 1e-3 * float(wanted.abs().max())
    assert errors == sorted(errors, reverse=True)
    assert torch.allclose(gradient("logits", 1.0, *centred), wanted)


def test_the_gradient_of_kl_keeps_its_size_when_the_temperature_changes() -> None:
    student, teacher = 0.1 * draws(4, 5).double(), 0.1 * draws(4, 5, seed=1).double()
    small, large = (gradient("kl", t, student, teacher).norm() for t in (2.0, 20.0))
    assert float(large / small) == pytest.approx(1.0, abs=0.1)


def test_logits_are_learned_as_half_the_mean_squared_difference_from_the_teachers_mean() -> None:
    student, teachers = draws(4, 3), [draws(4, 3, seed=seed) for seed in (1, 2)]
    task = Distillation(
        Teacher([Fixed(one) for one in teachers]), torch.full((4,), -1), 3.0, 0.0, None, "logits"
    )
    found = task.loss(Fixed(student), torch.zeros(4, 1, 2, 2), torch.arange(4), generator(CPU))
    plain = 0.5 * np.mean((student.numpy() - (teachers[0] + teachers[1]).numpy() / 2) ** 2)
    assert float(found.detach()) == pytest.approx(float(plain), rel=1e-5)


def test_teachers_speak_through_weighted_views_and_in_the_datas_order_of_classes() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    images, views = draws(5, 1, 4, 4), (View(0, 0, False, 3.0, 1.0), View(0, 0, True, 1.0, 1.0))
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        parts = [flat(see(images, view))[:, order] for view in views]
    look = Teacher([flat], views, order).look(images)
    assert torch.allclose(look.mean_logits(), 0.75 * parts[0] + 0.25 * parts[1], atol=1e-6)
    mean = 0.75 * torch.softmax(parts[0] / 2, 1) + 0.25 * torch.softmax(parts[1] / 2, 1)
    assert torch.allclose(look.probs(2.0), mean, atol=1e-6)


def members_of(widths: tuple[int, ...] = (16, 24), n: int = 2) -> dict[str, Member]:
    """Return untrained teachers: any features will do to be told."""
    architecture = Architecture(1, 8, widths, 3)
    card = Card("classifier", architecture, CLASSES, FACTS, {})
    nets = [new_classifier(architecture, torch.zeros(3), generator(CPU, "t", at)) for at in range(n)]
    return {f"seed{at}": Member(net.eval(), card, "") for at, net in enumerate(nets)}


def features_of(network: Classifier, images: torch.Tensor, depth: int) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    with torch.no_grad(), captured(network.eval(), layer_at(network, depth, "network"), seen):
        network(images)
    return seen[0]


def untold(student: Classifier, teachers: Mapping[str, Member], dataset: Dataset) -> float:
    """Return the share of the teachers' features on val that no linear map of the student's tells."""
    images = normalise(as_images(dataset.pixels[dataset.part("val")], CPU).float() / 255, FACTS)
    own = features_of(student, images, 2).permute(0, 2, 3, 1).flatten(0, 2).double()
    own = torch.cat([own, torch.ones(len(own), 1, dtype=own.dtype)], 1)
    theirs = torch.cat([features_of(one.network, images, 2) for one in teachers.values()], 1)
    wanted = theirs.permute(0, 2, 3, 1).flatten(0, 2).double()
    rest = wanted - own @ torch.linalg.lstsq(own, wanted).solution
    return float(rest.square().sum() / (wanted - wanted.mean(0)).square().sum())


def test_hints_bring_the_students_features_nearer_to_its_teachers() -> None:
    dataset, teachers = bars_dataset(150), members_of()
    left = {}
    for weight in (0.0, 10.0):
        params = distill_params(widths=(8, 8), epochs=12, hint_weight=weight, hint_depth=2)
        recipe = params.one_phase("distill", None)
        state = distill.fit_student(dataset, dataset.part("train"), teachers, params, recipe)
        assert isinstance(state.averaged, Classifier)
        left[weight] = untold(state.averaged, teachers, dataset)
        assert hasattr(state.network, REGRESSOR) is (weight > 0)
    assert left[10.0] < 0.85 * left[0.0]


def test_the_regressor_is_part_of_the_state_and_learns() -> None:
    dataset, params = bars_dataset(60), distill_params(widths=(8, 8), epochs=1, hint_weight=1.0, hint_depth=1)
    state = distill.fit_student(
        dataset, dataset.part("train"), members_of(), params, params.one_phase("d", None)
    )
    names = {name for name in state.tensors() if REGRESSOR in name}
    assert f"network/{REGRESSOR}.weight" in names
    assert f"averaged/{REGRESSOR}.bias" in names
    assert f"optimizer/{REGRESSOR}.weight/exp_avg" in names
    weight = state.network.get_parameter(f"{REGRESSOR}.weight")
    assert weight.shape == (32, 8, 1, 1)  # two teachers of 16 channels each
    assert float(state.network.get_parameter(f"{REGRESSOR}.bias").detach().abs().max()) > 0


def test_hints_are_of_the_plain_picture_even_if_no_view_is() -> None:
    (member,) = members_of(n=1).values()
    layer = layer_at(member.network, 1, "teacher")
    images = draws(3, 1, 8, 8)
    for views in (PLAIN, (View(1, 0, False, 1.0, 1.0),)):
        look = Teacher([member.network], views, layers=[layer]).look(images)
        assert torch.equal(look.hint((8, 8)), features_of(member.network, images, 1))
        assert look.logits.shape == (1, 3, 3)
    assert look.hint((4, 4)).shape == (1 * 3, 16, 4, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"hint_depth": 3, "widths": (8, 8, 8)},
            r"distill\.hint_depth: the teacher has 2 depths; received 3",
        ),
        ({"hint_depth": 2, "widths": (8,)}, r"distill\.hint_depth: the student has 1 depths; received 2"),
    ],
)
def test_a_depth_that_is_not_there_is_refused(changes: dict[str, object], message: str) -> None:
    dataset, params = bars_dataset(60), distill_params(hint_weight=1.0, **changes)
    with pytest.raises(InputError, match=message):
        distill.fit_student(dataset, dataset.part("train"), members_of(), params, params.one_phase("d", None))
