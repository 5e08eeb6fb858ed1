from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from stages.lib.artifacts import write_table
from stages.lib.errors import InputError
from stages.lib.soft_targets import annotator_targets, mixed_targets
from stages.lib.tasks import Classification
from tests.prepared_data import CLASSES, bars_dataset


def test_votes_become_shares_and_decisions_and_silence_leave_the_label() -> None:
    votes = np.array([[0, 1, 1], [2, 2, 2], [-1, -1, -1], [0, 0, 1]])
    decided = np.array([False, False, False, True])
    found = mixed_targets(np.array([1, 2, 0, 2]), votes, decided, 3)
    assert found.tolist() == [
        [pytest.approx(1 / 3), pytest.approx(2 / 3), 0],
        [0, 0, 1],
        [1, 0, 0],
        [0, 0, 1],
    ]
    assert found.dtype == np.float32


def test_the_votes_are_read_from_the_curated_table(tmp_path: Path) -> None:
    dataset = bars_dataset(6)
    given = [CLASSES[at] for at in dataset.labels]
    table = {
        "sample_id": list(dataset.sample_ids),
        "label": given,
        "given_label": [CLASSES[2], *given[1:]],  # the first was changed
        "annotator_ann": [CLASSES[1]] * 6,
        "annotator_bob": [None, CLASSES[1], "a class that nobody kept", CLASSES[0], CLASSES[1], None],
    }
    write_table(tmp_path / "samples.parquet", pa.table(table))
    found = annotator_targets(tmp_path, dataset, np.array([0, 1, 2, 3]))
    assert found.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0.5, 0.5, 0]]


def test_without_annotators_the_message_says_what_to_do(tmp_path: Path) -> None:
    write_table(
        tmp_path / "samples.parquet", pa.table({"sample_id": ["a"], "label": ["x"], "given_label": ["x"]})
    )
    with pytest.raises(InputError, match=r"no annotator columns.*ingest\.annotators"):
        annotator_targets(tmp_path, bars_dataset(1), np.array([0]))


def test_the_loss_of_soft_targets_is_their_cross_entropy_and_that_of_sure_ones_the_labels() -> None:
    logits = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    soft = torch.tensor([[0.7, 0.3], [0.0, 1.0]])
    labels, weights, index = torch.tensor([0, 1]), torch.ones(2), torch.arange(2)
    network, randomness = torch.nn.Identity(), torch.Generator()
    task = Classification(labels, weights, 0.0, None, soft)
    expected = -(soft * logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(task.loss(network, logits, index, randomness), expected)
    assert task.mass(index) == 2.0
    sure = Classification(labels, weights, 0.1, None, torch.eye(2)[labels])
    hard = Classification(labels, weights, 0.1, None)
    assert torch.allclose(
        sure.loss(network, logits, index, randomness), hard.loss(network, logits, index, randomness)
    )
