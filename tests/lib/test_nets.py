import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.lib.counters import generator
from stages.lib.errors import InputError
from stages.lib.net_report import count_parameters
from stages.lib.nets import (
    Architecture,
    Autoencoder,
    Body,
    Classifier,
    DropPath,
    initialise,
    new_classifier,
)

CPU = torch.device("cpu")


def classifier(widths: tuple[int, ...] = (8, 16), classes: int = 3) -> Classifier:
    prior = torch.log(torch.arange(1.0, classes + 1) / sum(range(1, classes + 1)))
    return new_classifier(Architecture(1, 8, widths, classes), prior, generator(CPU, "net"))


def images(n: int, channels: int = 1, side: int = 8) -> torch.Tensor:
    return torch.randn((n, channels, side, side), generator=generator(CPU, "images", n))


def test_a_new_classifier_predicts_the_prior_it_was_given() -> None:
    probs = torch.softmax(classifier()(images(50)), 1).mean(0)
    assert torch.allclose(probs, torch.tensor([1.0, 2, 3]) / 6, atol=0.02)


def test_a_sample_is_seen_alike_in_any_batch() -> None:
    network, batch = classifier().train(), images(6)
    alone = torch.cat([network(one[None]) for one in batch])
    assert torch.allclose(alone, network(batch), atol=1e-5)
    assert torch.allclose(network(batch.flip(0)).flip(0), network(batch), atol=1e-5)


def test_the_same_generator_gives_the_same_network() -> None:
    one, other = classifier().state_dict(), classifier().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_parameters_are_counted() -> None:
    # stem 72 + norm 16; block 8→8: 1152 + 32; block 8→16: 1152 + 2304 + 64 + around 128; head 48 + 3
    assert count_parameters(classifier()) == 72 + 16 + 1152 + 32 + 1152 + 2304 + 64 + 128 + 51


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 21), st.sampled_from([1, 3]), st.integers(1, 3))
def test_an_autoencoder_returns_the_size_it_was_given(side: int, channels: int, stages: int) -> None:
    network = Autoencoder(Architecture(channels, side, (8, 16, 24)[:stages], 2))
    initialise(network, generator(CPU, "auto"))
    assert network(images(2, channels, side)).shape == (2, channels, side, side)


@pytest.mark.parametrize("widths", [(), (12,), (0,), (-8, 8)])
def test_widths_that_no_network_can_have_are_refused(widths: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="multiple of 8"):
        Architecture(1, 8, widths, 3)


def test_more_halvings_than_the_image_bears_are_refused_naming_both_params() -> None:
    with pytest.raises(
        InputError, match=r"widths: .*5 stages.*16 pixels.*ingest\.image_size gives 8: list 4"
    ):
        Architecture(1, 8, (8, 8, 8, 8, 8), 3)


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(4000, 2, 3, 3))
    per_sample = dropped.flatten(1)
    assert bool(((per_sample == 0).all(1) | (per_sample == 1 / 0.75).all(1)).all())
    assert float((per_sample[:, 0] == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(DropPath(0.25).eval()(torch.ones(4, 1, 1, 1)), torch.ones(4, 1, 1, 1))


def test_later_blocks_are_dropped_more_often_up_to_the_share() -> None:
    shares = [block.drop_path.share for block in Body(1, (8, 8, 8, 8), 0.2).blocks]
    assert shares == pytest.approx([0.05, 0.1, 0.15, 0.2])


def test_an_architecture_that_is_neither_ours_nor_timms_is_refused() -> None:
    with pytest.raises(InputError, match="timm:"):
        Architecture(1, 8, (8,), 3, "resnet18")
