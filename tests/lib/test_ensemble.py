from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.lib.ensemble import ensemble_probs, load_members
from stages.lib.errors import InputError
from stages.lib.normalise import Normalisation
from stages.lib.weights import Card, load_classifier, save_weights
from tests.prepared_data import CLASSES, bars_dataset
from tests.training_fixture import write_members


def test_every_member_counts_alike() -> None:
    parts = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]), torch.tensor([[0.0, 1.0]])]
    assert ensemble_probs(parts).tolist() == [[0.5, 0.5]]


def test_members_that_were_normalised_differently_are_refused(tmp_path: Path) -> None:
    dataset = bars_dataset(30)
    write_members(tmp_path, dataset)
    assert list(load_members(tmp_path, (1, 0), dataset)) == ["seed1", "seed0"]
    path = tmp_path / "seed1" / "model.safetensors"
    card = load_classifier(path, CLASSES)[1]
    other = Card(card.kind, card.architecture, card.classes, Normalisation((0.9,), (0.1,)), card.parents)
    save_weights(path, load_file(path), other)
    with pytest.raises(InputError, match="normalised differently"):
        load_members(tmp_path, (0, 1), dataset)
