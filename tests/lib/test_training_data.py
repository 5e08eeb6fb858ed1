import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.lib.class_plan import ClassPlan
from stages.lib.errors import InputError
from stages.lib.normalise import Normalisation
from stages.lib.training_data import architecture_for, held_out, labels_of, log_prior, training_set
from tests.prepared_data import bars_dataset

CPU = torch.device("cpu")
FACTS = Normalisation((0.0,), (1.0,))
EVEN = ClassPlan(np.ones(3), np.ones(3))


def test_images_keep_their_samples_and_lie_channels_last() -> None:
    dataset = bars_dataset(30)
    positions = dataset.part("train")
    data = training_set(dataset, positions, FACTS, CPU, EVEN)
    assert data.images.shape == (len(positions), 1, 8, 8)
    assert data.images.dtype == torch.uint8
    assert data.sampling is None
    for row, position in enumerate(positions):
        assert data.sample_ids[row] == dataset.sample_ids[position]
        np.testing.assert_array_equal(data.images[row, 0].numpy(), dataset.pixels[position, :, :, 0])
    assert labels_of(dataset, positions, CPU).tolist() == dataset.labels[positions].tolist()


def test_a_plan_that_resamples_gives_each_sample_its_class_weight() -> None:
    dataset = bars_dataset(30)
    positions = dataset.part("train")
    plan = ClassPlan(np.array([1.0, 2.0, 4.0]), np.ones(3))
    sampling = training_set(dataset, positions, FACTS, CPU, plan).sampling
    assert sampling is not None
    assert sampling.tolist() == [2.0**label for label in dataset.labels[positions]]
    prior = torch.exp(log_prior(dataset, positions, plan, CPU))
    assert torch.allclose(prior, torch.tensor([1.0, 2, 4]) / 7)


def test_nothing_to_learn_from_is_refused_and_nothing_to_look_at_is_none() -> None:
    dataset = bars_dataset(30)
    with pytest.raises(InputError, match="the train split has no images"):
        training_set(dataset, np.array([], np.int64), FACTS, CPU)
    assert held_out(dataset, np.array([], np.int64), FACTS, CPU) is None


def test_the_network_is_built_for_the_data_set() -> None:
    architecture = architecture_for(bars_dataset(30, side=12), (8,))
    assert (architecture.channels, architecture.image_size, architecture.n_classes) == (1, 12, 3)


def test_learning_needs_torch_and_files_alone() -> None:
    modules = "training_data, loop, ensemble, preflight_checks, checkpoint, blind_networks"
    unwanted = "{'pydantic', 'dvc', 'mlflow', 'pandas', 'sklearn', 'rich', 'yaml'}"
    code = f"import sys\nfrom stages.lib import {modules}\nprint(*sorted(set(sys.modules) & {unwanted}))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split() == []
