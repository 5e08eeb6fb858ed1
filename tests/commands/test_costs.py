"""What networks cost on this machine: measured, kept under the digest of their weights, and shown."""

import json
from pathlib import Path

import pytest
import torch

from stages.commands.costs import cost_rows, costs, networks, show
from stages.lib.artifacts import write_json
from stages.lib.counters import generator
from stages.lib.errors import InputError
from stages.lib.inference_cost import keep
from stages.lib.nets import Architecture, new_classifier
from stages.lib.normalise import Normalisation
from stages.lib.weights import Card, save_weights

CLASSES = ("a", "b", "c")


def write_network(path: Path, seed: int) -> None:
    architecture = Architecture(1, 8, (8,), len(CLASSES))
    network = new_classifier(architecture, torch.zeros(3), generator(torch.device("cpu"), seed))
    card = Card("classifier", architecture, CLASSES, Normalisation((0.5,), (0.5,)), {})
    save_weights(path, network.state_dict(), card)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_STATE", str(tmp_path / "state"))
    folder = tmp_path / "data"
    write_json(folder / "split" / "classes.json", list(CLASSES))
    write_network(folder / "distill" / "model.safetensors", 0)
    score = {"top1_accuracy": 0.75, "top1_accuracy_ci": [0.7, 0.8], "n": 100}
    write_json(folder / "evaluate" / "metrics.json", {"test": {"student": score}})
    return folder


@pytest.mark.slow
def test_a_network_is_timed_and_shown_until_its_weights_change(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cost_rows(data) == []
    show(data)
    assert capsys.readouterr().out == ""
    threads = torch.get_num_threads()
    try:
        costs(data)
    finally:
        torch.set_num_threads(threads)
    assert "student" in capsys.readouterr().out
    ((name, right, parameters, operations, *times),) = cost_rows(data)
    assert (name, right, parameters) == ("student", "75.0\N{NO-BREAK SPACE}%", "1,299")
    # Three 3x3 convolutions at 64 places, of 1 and 8 to 8 channels, and the head; two operations each.
    assert operations == f"{2 * (64 * 9 * (8 + 64 + 64) + 24) / 1e6:.1f}"
    assert len(times) == 4
    (kept,) = (json.loads(path.read_text()) for path in (data.parent / "state" / "costs").iterdir())
    assert all(milliseconds > 0 for found in kept["ms"].values() for milliseconds in found.values())
    write_network(data / "distill" / "model.safetensors", 1)
    assert cost_rows(data) == []


def test_a_member_the_ensemble_and_the_student_are_named(data: Path) -> None:
    for seed in (10, 2):
        write_network(data / "train" / f"seed{seed}" / "model.safetensors", seed)
    found = networks(data)
    assert list(found) == ["seed2", "ensemble", "student"]
    assert list(found["ensemble"]) == ["seed2", "seed10"]
    times = {"1": 1.0, "64": 2.0}
    keep(
        found["ensemble"], {"n_parameters": 5, "flops_per_image": 2e6, "ms": {"torch": times, "onnx": times}}
    )
    assert cost_rows(data) == [("ensemble", "–", "5", "2.0", "1.00", "2.00", "1.00", "2.00")]


def test_before_anything_is_trained_there_is_nothing_to_time(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing has been trained yet"):
        costs(tmp_path)
