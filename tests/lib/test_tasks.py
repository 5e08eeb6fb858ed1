import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from stages.lib import tasks
from stages.lib.augment_mix import Mix
from stages.lib.counters import generator
from stages.lib.distillation import Distillation
from stages.lib.normalise import Normalisation
from stages.lib.tasks import Classification, Held, Reconstruction, as_images, forward
from stages.lib.teachers import Teacher

CPU = torch.device("cpu")
AS_IS = Normalisation((0.0,), (1.0,))


def draws(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator(CPU, "draws", *shape))


def flat_net(pixels: int = 4, classes: int = 3) -> nn.Module:
    layer = nn.Linear(pixels, classes)
    with torch.no_grad():
        layer.weight.copy_(draws(classes, pixels))
        layer.bias.copy_(draws(classes))
    return nn.Sequential(nn.Flatten(), layer)


def test_classification_loss_is_the_weighted_mean_of_minus_log_probabilities() -> None:
    labels, weights = torch.tensor([2, 0, 1, 1, 2]), torch.tensor([1.0, 2.0, 5.0])
    task, net = Classification(labels, weights, 0.0, None), flat_net()
    images, index = draws(3, 1, 2, 2), torch.tensor([4, 0, 3])
    probs = torch.softmax(net(images), 1).detach().numpy()
    each = [-math.log(probs[row, int(labels[at])]) for row, at in enumerate(index)]
    weight = [float(weights[labels[at]]) for at in index]
    plain = sum(w * loss for w, loss in zip(weight, each, strict=True)) / sum(weight)
    found = task.loss(net, images, index, generator(CPU, 0))
    assert float(found.detach()) == pytest.approx(plain, rel=1e-5)


def test_label_smoothing_mixes_the_uniform_target_in() -> None:
    labels, net, images = torch.tensor([0, 1]), flat_net(), draws(2, 1, 2, 2)
    target = 0.8 * functional.one_hot(labels, 3) + 0.2 / 3
    plain = -(target * functional.log_softmax(net(images), 1)).sum(1).mean()
    task = Classification(labels, torch.ones(3), 0.2, None)
    assert torch.allclose(task.loss(net, images, torch.arange(2), generator(CPU, 0)), plain)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_images_are_learned_with_mixed_targets(smoothing: float) -> None:
    net, images, labels = flat_net(), draws(4, 1, 2, 2), torch.tensor([0, 2, 1, 2])
    mix = Mix(torch.tensor([1, 0, 3, 2]), torch.tensor([0.7, 1.0, 0.5, 0.0]))
    task = Classification(labels, torch.ones(3), smoothing, None)
    targets = mix.blend(functional.one_hot(labels, 3).float())
    wanted = functional.cross_entropy(net(images), targets, label_smoothing=smoothing)
    assert torch.allclose(task.loss(net, images, torch.arange(4), generator(CPU), mix), wanted)
    nobody = Mix(torch.arange(4), torch.ones(4))
    weighted = Classification(labels, torch.tensor([1.0, 2, 0.5]), smoothing, None)
    plain, same = (
        weighted.loss(net, images, torch.arange(4), generator(CPU), kind) for kind in (None, nobody)
    )
    assert torch.allclose(plain, same)


def test_a_student_of_mixed_images_learns_mixed_labels_and_none_where_there_is_none() -> None:
    net, images = flat_net(), draws(4, 1, 2, 2)
    labels = torch.tensor([0, -1, 1, 2])
    mix = Mix(torch.tensor([1, 0, 3, 2]), torch.tensor([0.7, 0.6, 0.5, 0.2]))
    task = Distillation(Teacher([net]), labels, 1.0, 1.0, None)
    logs = functional.log_softmax(net(images), 1)
    wanted = -(0.7 * logs[0, 0] + 0.4 * logs[1, 0] + 0.5 * (logs[2, 1] + logs[2, 2]))
    wanted = (wanted - 0.2 * logs[3, 2] - 0.8 * logs[3, 1]) / 4
    assert torch.allclose(task.loss(net, images, torch.arange(4), generator(CPU), mix), wanted)


def test_validation_is_of_the_whole_set_in_any_chunking(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 2, 2, 1), dtype=np.uint8)
    labels, net = torch.arange(37) % 3, flat_net()
    task = Classification(
        labels, torch.ones(3), 0.1, Held(as_images(pixels, CPU), labels, Normalisation((0.5,), (0.2,)))
    )
    logits = net(torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.2)).detach()
    expected = {
        "val_loss": float(functional.cross_entropy(logits, labels)),
        "val_top1_accuracy": float((logits.argmax(1) == labels).float().mean()),
    }
    for chunk in (512, 10):
        monkeypatch.setattr(tasks, "CHUNK", chunk)
        assert task.validate(net) == pytest.approx(expected, rel=1e-5)


def test_without_val_there_are_no_figures() -> None:
    assert (
        Classification(torch.zeros(1, dtype=torch.int64), torch.ones(3), 0.0, None).validate(flat_net()) == {}
    )


def test_a_student_that_believes_what_its_teachers_do_has_no_soft_loss() -> None:
    net, images = flat_net(), draws(5, 1, 2, 2)
    task = Distillation(Teacher([net]), torch.full((5,), -1), 3.0, 0.0, None)
    loss = task.loss(net, images, torch.arange(5), generator(CPU, 0))
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)


def test_distillation_loss_is_hintons() -> None:
    teachers, student = [flat_net(), nn.Sequential(nn.Flatten(), nn.Linear(4, 3))], flat_net()
    labels, index, images, t, mix = (
        torch.tensor([1, 2, -1, 0]),
        torch.tensor([0, 2, 3]),
        draws(3, 1, 2, 2),
        2.5,
        0.3,
    )
    with torch.no_grad():
        soft = torch.stack([torch.softmax(teacher(images) / t, 1) for teacher in teachers]).mean(0)
        logits = student(images)
        divergence = (soft * (soft.log() - torch.log_softmax(logits / t, 1))).sum(1).mean()
        hard = -(torch.log_softmax(logits, 1)[0, 1] + torch.log_softmax(logits, 1)[2, 0]) / 3
    task = Distillation(Teacher(teachers), labels, t, mix, None)
    found = task.loss(student, images, index, generator(CPU, 0)).detach()
    assert float(found) == pytest.approx(float((1 - mix) * t**2 * divergence + mix * hard), rel=1e-5)


def test_teachers_get_no_gradient() -> None:
    teacher, student = flat_net(), flat_net()
    task = Distillation(Teacher([teacher]), torch.full((4,), -1), 1.0, 0.0, None)
    task.loss(student, draws(4, 1, 2, 2), torch.arange(4), generator(CPU, 0)).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_reconstruction_blanks_its_share_and_is_judged_against_the_clean_image() -> None:
    task = Reconstruction(0.0, 0.3, None)
    clean = torch.ones((50, 3, 20, 20))
    holes = task.corrupt(clean, generator(CPU, 1)) == 0
    assert torch.equal(holes[:, 0], holes[:, 2])  # all channels of a pixel at once
    assert abs(float(holes.float().mean()) - 0.3) < 0.01
    loss = task.loss(nn.Identity(), clean, torch.arange(50), generator(CPU, 1))
    assert float(loss) == pytest.approx(float(holes.float().mean()), rel=1e-4)


class Painter(nn.Module):
    """Paints what it sees a little darker; it may have room for so many images at once."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.9))
        self.room = room
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen.append(images)
        return self.factor * images


def reconstruction(n: int) -> Reconstruction:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 1), dtype=np.uint8)
    pixels[-1] = 0  # a last image unlike the others, which counts as one
    return Reconstruction(0.5, 0.2, Held(as_images(pixels, CPU), torch.zeros(n), AS_IS))


def test_reconstruction_is_validated_under_the_same_noise_each_time() -> None:
    task = reconstruction(9)
    assert task.validate(Painter()) == task.validate(Painter())


@pytest.mark.parametrize("room", [1000, 2])
def test_reconstruction_is_judged_by_the_mean_over_val_images_in_any_room(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "CHUNK", 4)  # 9 images: 4, 4 and 1
    task, painter = reconstruction(9), Painter(room)
    found = task.validate(painter)["val_loss"]
    assert task.val is not None
    off = 0.9 * torch.cat(painter.seen) - task.val.images / 255
    assert found == pytest.approx(float(off.square().mean().detach()), rel=1e-5)
    assert found == pytest.approx(task.validate(Painter())["val_loss"], rel=1e-6)


def test_forward_leaves_the_network_in_evaluation_mode_and_keeps_order() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (700, 2, 2, 1), dtype=np.uint8)
    net = flat_net().train()
    found = forward(net, as_images(pixels, CPU), AS_IS)
    assert not net.training
    assert torch.allclose(found[600], net(as_images(pixels[600:601], CPU).float() / 255)[0], atol=1e-5)


def test_soft_targets_in_parts_are_those_of_the_whole_batch_whatever_classes_weigh() -> None:
    net, images, soft = flat_net(), draws(7, 1, 2, 2), torch.softmax(draws(7, 3), 1)
    weights = torch.tensor([1.0, 5.0, 20.0])
    task = Classification(torch.tensor([0, 1, 2, 2, 0, 1, 0]), weights, 0.1, None, soft)

    def total(*parts: torch.Tensor) -> float:
        lost = [task.loss(net, images[at], at, generator(CPU)) * task.mass(at) for at in parts]
        return float(sum(lost).detach()) / float(sum(task.mass(at) for at in parts))  # type: ignore[union-attr]

    index = torch.arange(7)
    assert total(*index.split(3)) == pytest.approx(total(index), rel=1e-5)
