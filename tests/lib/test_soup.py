from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stages.lib.chosen_ensemble import choose
from stages.lib.counters import generator
from stages.lib.dataset import Dataset
from stages.lib.ensemble import Member, load_members
from stages.lib.normalise import Normalisation, normalise
from stages.lib.soup import kitchen, learn_statistics, soup_of, why_not
from stages.lib.tasks import as_images
from stages.lib.views import PLAIN
from tests.prepared_data import bars_dataset
from tests.training_fixture import write_members

CPU = torch.device("cpu")
FACTS = Normalisation((0.4,), (0.2,))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return bars_dataset(120)


@pytest.fixture(scope="module")
def members(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Member]:
    folder: Path = write_members(tmp_path_factory.mktemp("members"), dataset)
    return load_members(folder, (0, 1), dataset)


def test_a_soup_is_the_mean_of_the_weights_and_of_one_member_that_member(
    dataset: Dataset, members: dict[str, Member]
) -> None:
    both = list(members.values())
    mean = soup_of(both, dataset.pixels, dataset.part("train")).network.state_dict()
    for name, value in mean.items():
        parts = [member.network.state_dict()[name] for member in both]
        assert torch.allclose(value, (parts[0] + parts[1]) / 2)
    soup = kitchen(members, dataset.pixels, dataset.part("train"))
    alone = soup((1,)).network.state_dict()
    assert all(torch.equal(alone[name], value) for name, value in both[1].network.state_dict().items())
    assert soup((0, 1)) is soup((0, 1))


def test_networks_without_a_common_start_are_not_averaged_and_the_reason_is_told(
    dataset: Dataset, members: dict[str, Member]
) -> None:
    assert why_not(members) == ""

    def started(*starts: dict[str, str]) -> dict[str, Member]:
        pairs = zip(members.items(), starts, strict=True)
        return {
            name: replace(member, card=replace(member.card, parents=start)) for (name, member), start in pairs
        }

    assert "train.init: random" in why_not(started({}, {}))
    assert "started from different weights" in why_not(started({"encoder": "a"}, {"encoder": "b"}))
    assert "one network only" in why_not({"seed0": members["seed0"]})
    other = replace(
        members["seed1"].card, architecture=replace(members["seed1"].card.architecture, widths=(8,))
    )
    assert "architectures" in why_not(members | {"seed1": replace(members["seed1"], card=other)})
    _, told = choose(dataset, dataset.part("test"), started({}, {}), PLAIN, ("mean", "soup"))
    assert set(told["combination"]["candidates"]) == {"mean"}
    assert "train.init: random" in told["combination"]["soup_refused"]


def test_a_soup_is_a_candidate_beside_the_others_and_is_predicted_where_val_chose_it(
    dataset: Dataset, members: dict[str, Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = dataset.part("val", "test")
    _, told = choose(dataset, positions, members, PLAIN, ("mean", "soup", "greedy_soup"))
    assert set(told["combination"]["candidates"]) == {"mean", "soup", "greedy_soup"}
    assert "soup_refused" not in told["combination"]
    monkeypatch.setattr("stages.lib.val_choice._chosen", lambda probs, *_: (list(probs)[-1], {}))
    found, told = choose(dataset, positions, members, PLAIN, ("soup",))
    assert told["combination"]["members"] == ["seed0", "seed1"]
    soup = soup_of(list(members.values()), dataset.pixels, dataset.part("train"))
    images = as_images(dataset.pixels[positions], CPU)
    np.testing.assert_array_equal(found, soup.probs(images, PLAIN).numpy())


def test_statistics_of_batch_norms_are_taken_anew_from_train() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 6, 6, 1), dtype=np.uint8)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Dropout(0.5))
    nn.init.normal_(network[0].weight, generator=generator(CPU, 0))  # type: ignore[arg-type]
    network.eval()
    rows = np.arange(60)
    learn_statistics(network, pixels, rows, FACTS)
    with torch.no_grad():
        maps = network[0](normalise(as_images(pixels[rows], CPU).float() / 255, FACTS))
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean, maps.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, maps.transpose(0, 1).flatten(1).var(1), atol=1e-4)
    assert not any(module.training for module in network.modules())
    assert norm.momentum == 0.1
