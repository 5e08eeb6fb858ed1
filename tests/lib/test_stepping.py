import pytest
import torch
from torch import nn
from torch.nn import functional

from stages.lib.parallel import Team
from stages.lib.stepping import (
    NoRoomError,
    backward_in_parts,
    in_chunks_that_fit,
    in_parts_that_fit,
    is_out_of_memory,
)


def gradients(parts: int, weights: torch.Tensor) -> tuple[float, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Linear(5, 3)
    images, labels = torch.randn(11, 5), torch.arange(11) % 3

    def loss_of(piece: torch.Tensor, part: int) -> torch.Tensor:
        return functional.cross_entropy(net(images[piece]), labels[piece], weights)

    loss = backward_in_parts(loss_of, lambda piece: weights[labels[piece]].sum(), 11, parts, Team())
    assert net.weight.grad is not None
    return float(loss), net.weight.grad


@pytest.mark.parametrize("parts", [2, 3, 11, 50])
def test_gradients_in_parts_add_up_to_those_of_the_batch_also_with_class_weights(parts: int) -> None:
    for weights in (torch.ones(3), torch.tensor([5.0, 1.0, 0.2])):
        whole, pieces = gradients(1, weights), gradients(parts, weights)
        assert pieces[0] == pytest.approx(whole[0], rel=1e-6)
        assert torch.allclose(pieces[1], whole[1], atol=1e-6)


def test_f11_out_of_memory_is_answered_with_the_parts_that_fit() -> None:
    tried: list[int] = []
    net = nn.Linear(1, 1)

    def attempt(parts: int) -> torch.Tensor:
        tried.append(parts)
        assert net.weight.grad is None  # what an attempt left behind must not be added up
        net.weight.grad = torch.ones(1, 1)
        if parts < 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.tensor(1.0)

    assert in_parts_that_fit(attempt, net, 32, 1, Team())[1] == 4
    assert tried == [1, 2, 4]


def test_f11_when_one_image_does_not_fit_the_message_says_what_to_change() -> None:
    def attempt(parts: int) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(NoRoomError, match="not even one image"):
        in_parts_that_fit(attempt, nn.Linear(1, 1), 6, 1, Team())


def test_f10_the_machines_own_memory_counts_and_other_errors_do_not() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))

    def attempt(parts: int) -> torch.Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        in_parts_that_fit(attempt, nn.Linear(1, 1), 6, 1, Team())


def test_f11_val_and_predictions_take_smaller_chunks_where_memory_runs_out() -> None:
    seen: list[int] = []

    def look(chunk: torch.Tensor) -> torch.Tensor:
        seen.append(len(chunk))
        if len(chunk) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return chunk * 2

    images = torch.arange(10)
    assert torch.equal(in_chunks_that_fit(look, images, 8), images * 2)
    assert seen[:4] == [8, 4, 2, 2]

    def never(chunk: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(NoRoomError, match="not even one image"):
        in_chunks_that_fit(never, images, 8)
