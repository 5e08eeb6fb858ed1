"""Images that do not fit are brought batch by batch: the same bytes, the same network."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import ablate, predict, pretrain
from stages.commands.tune_trial import val_scores
from stages.lib import feeding
from stages.lib.counters import generator
from stages.lib.dataset import Dataset
from stages.lib.ensemble import Member
from stages.lib.errors import MachineError
from stages.lib.feeding import VARIABLE, HostImages, must_stream
from stages.lib.nets import new_classifier
from stages.lib.normalise import Normalisation
from stages.lib.student_figures import val_agreement
from stages.lib.training_data import architecture_for, held_out, training_set
from stages.lib.truth import Truth
from stages.lib.tune_data import Material
from stages.lib.views import PLAIN
from stages.lib.weights import Card
from tests.prepared_data import bars, bars_dataset
from tests.training_fixture import (
    WIDTHS,
    context,
    even_plan,
    pretrain_params,
    pretrain_view,
    train_params,
    write_encoder,
)

CPU = torch.device("cpu")
FACTS = Normalisation((0.3,), (0.25,))


@pytest.mark.parametrize("channels", [1, 3])
def test_streamed_batches_are_the_resident_ones_in_values_and_in_memory(
    tmp_path: Path, channels: int
) -> None:
    pixels, _ = bars(40, side=12, channels=channels)
    np.save(tmp_path / "pixels.npy", pixels)
    rows = np.arange(40)[::-2].copy()
    mapped = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    resident = torch.from_numpy(pixels[rows]).permute(0, 3, 1, 2)
    order = torch.randperm(20).split(3)
    streamed = list(HostImages(mapped, rows, CPU).batches(order))
    assert len(streamed) == len(order)
    for index, batch in zip(order, streamed, strict=True):
        assert torch.equal(batch, resident[index])
        assert batch.stride() == resident[index].stride()


def test_a_streamed_training_ends_in_the_bytes_of_a_resident_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import train

    dataset = bars_dataset(60)
    encoder = write_encoder(tmp_path / "encoder.safetensors", dataset)
    found = {}
    for how in ("resident", "stream"):
        monkeypatch.setenv(VARIABLE, how)
        state, _, _ = train.fit_classifier(dataset, even_plan(3), encoder, train_params(), 0)
        found[how] = (state.history, [value.clone() for value in state.averaged.state_dict().values()])
    assert found["resident"][0] == found["stream"][0]
    assert all(torch.equal(a, b) for a, b in zip(found["resident"][1], found["stream"][1], strict=True))


def test_no_copy_of_all_images_is_made_and_few_batches_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "stream")
    dataset = bars_dataset(60)
    facts = Normalisation((0.3,), (0.25,))
    data = training_set(dataset, dataset.part("train"), facts, CPU, may_stream=True)
    assert data.images.numel() == 0
    assert data.host is not None
    assert len(data) == data.host.shape[0] == len(dataset.part("train"))
    gathered: list[int] = []

    class Counting(HostImages):
        def gather(self, index: torch.Tensor) -> torch.Tensor:
            gathered.append(len(index))
            return super().gather(index)

    host = Counting(dataset.pixels, dataset.part("train"), CPU)
    feed = host.batches(torch.arange(36).split(2))
    next(feed)
    assert len(gathered) <= feeding.AHEAD + 1
    feed.close()


def test_a_fault_while_gathering_reaches_the_loop() -> None:
    def taken(host: HostImages) -> Iterator[torch.Tensor]:
        return host.batches([torch.tensor([0]), torch.tensor([99])])

    with pytest.raises(IndexError):
        list(taken(HostImages(bars(4)[0], np.arange(4), CPU)))


def test_p6_what_is_asked_for_is_done_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not must_stream(1 << 60, CPU)  # on a CPU they are in memory already, or mapped
    monkeypatch.setenv(VARIABLE, "stream")
    assert must_stream(1, CPU)
    monkeypatch.setenv(VARIABLE, "sometimes")
    with pytest.raises(MachineError, match="expected auto, resident or stream"):
        must_stream(1, CPU)


def test_f10_a_gpu_with_little_free_memory_gets_its_batches_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 5000))
    assert must_stream(501, torch.device("cuda"))
    assert not must_stream(500, torch.device("cuda"))


def test_val_images_that_do_not_fit_stay_in_the_machines_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = bars_dataset(60)
    nowhere = torch.device("meta")  # a device of which nothing comes back
    places = {}
    for how in ("resident", "stream"):
        monkeypatch.setenv(VARIABLE, how)
        held = held_out(dataset, dataset.part("val"), Normalisation((0.3,), (0.25,)), nowhere)
        assert held is not None
        places[how] = (held.images.device.type, held.labels.device.type)
    assert places == {"resident": ("meta", "meta"), "stream": ("cpu", "meta")}


def new_member(dataset: Dataset) -> Member:
    shape = architecture_for(dataset, WIDTHS)
    network = new_classifier(shape, torch.zeros(3), generator(CPU, "member"))
    return Member(network, Card("classifier", shape, dataset.classes, FACTS, {}), "")


def looks_at(dataset: Dataset, place: str) -> object:
    """Look at val, or val and test, as `place` does."""
    val, member = dataset.part("val"), new_member(dataset)
    if place == "pretrain":
        params = pretrain_params(epochs=1)
        recipe = params.one_phase("reconstruct", pretrain_view().augmentation())
        return pretrain.fit_autoencoder(dataset, FACTS, member.card.architecture, params, recipe)
    if place == "predict":
        return predict.beliefs({"one": member}, member, dataset.pixels[val], PLAIN)
    if place == "ablate":
        nothing = np.empty(0, np.int64)
        truth = Truth((), nothing, nothing, nothing, dataset.classes)
        return ablate.Bench(dataset, even_plan(3), truth, Path(), Path(), Path(), context(Path())).images()
    if place == "distill":
        return val_agreement(member.network, {"one": member}, (), dataset, np.arange(len(dataset.labels)))
    material = Material(dataset, even_plan(3), np.arange(len(val)), None, Path())
    return val_scores(member.network, FACTS, material, "val_loss")


@pytest.mark.parametrize("place", ["pretrain", "predict", "ablate", "distill", "tune"])
def test_images_that_are_looked_at_all_at_once_may_stay_on_the_host_too(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = bars_dataset(30)
    shown = dataset.part("val", "test") if place == "ablate" else dataset.part("val")
    asked: list[int] = []

    def must_stream(n_bytes: int, device: torch.device) -> bool:
        asked.append(n_bytes)
        return False

    monkeypatch.setattr(feeding, "must_stream", must_stream)
    looks_at(dataset, place)
    assert asked == [dataset.pixels[shown].nbytes]
